/* RTP in both directions of many sessions, through a relay or straight, and what came of it.
 *
 * Two bound UDP sockets are inherited: the one all callers use and the one all callees use.
 * Standard input has a line "HOST PORT HOST PORT" for each session: where its caller sends, then
 * where its callee sends. What arrives at one side must come from where that side sends to.
 *
 * One thread sends, another receives. Every packet carries the time it was made, the number of
 * its stream and its own number in it, so that loss, repetition, order and delay of each packet
 * are known. Packets made within the measured window are marked; only those count as offered and
 * received. They arrive during the window or in the drain time after it, and those that took
 * longer than a deadline count as late. Results are printed as one JSON object.
 *
 * The time of arrival is the kernel's stamp, so a receiver that has to wait for its turn on a
 * busy machine does not make the relay look slow. The time of departure is that of a whole batch.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <getopt.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64            /* packets per system call */
#define LONGEST 1500        /* octets of a datagram */
#define NAP_NS 50000        /* between two looks at what is due */
#define SUB 5               /* the histogram has 2^SUB steps in each power of two */
#define BUFFER (32 << 20)   /* octets the receiving sockets may hold: the sink must not lose */
#define MARK 0x80000000u    /* in a packet's number: made within the window */
#define WATCHED 32

struct __attribute__((packed)) packet {
    uint8_t first, type;
    uint16_t sequence;
    uint32_t timestamp, ssrc;
    uint64_t made;          /* ns of the real-time clock, as the kernel's stamps are */
    uint32_t stream, number;
};

struct stream {
    uint32_t next;          /* number of the packet to be sent next */
    uint32_t end;           /* one more than the highest number that arrived */
    uint64_t seen;          /* bit n: the number n below the highest has arrived */
};

struct end {
    struct sockaddr_storage to;
    socklen_t length;
};

struct watch {
    const char *label;
    int pid;
    uint64_t before, after;
};

enum phase { WARMING, MEASURING, DRAINING, OVER };

static int sockets[2], payload = 160;
static unsigned streams;
static double rate = 1000, window = 1, warming = 0.2, draining = 0.3;
static int64_t deadline = 100000000;
static uint32_t ssrc_base;
static struct end *ends[2];
static struct stream *stream;
static struct watch watched[WATCHED];
static int watching;
static volatile enum phase phase;

static uint64_t offered, refused;
static volatile uint64_t arrived;
static uint64_t received, late, duplicates, reordered, foreign, wrong_source;
static uint64_t histogram[64 << SUB], slowest;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void nap(double seconds)
{
    struct timespec t = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

/* Delays: a histogram whose steps are 3 % wide. */

static unsigned slot(uint64_t value)
{
    unsigned power = 63 - __builtin_clzll(value | 1);
    if (power < SUB)
        return value;
    return ((power - SUB + 1) << SUB) + ((value >> (power - SUB)) & ((1 << SUB) - 1));
}

static double slot_value(unsigned index)
{
    unsigned power = index >> SUB, rest = index & ((1 << SUB) - 1);
    return power ? (double)((1ull << SUB) + rest) * (double)(1ull << (power - 1)) : rest;
}

static double quantile_us(double part)
{
    uint64_t want = part * received, count = 0;
    for (unsigned i = 0; i < 64 << SUB; i++) {
        count += histogram[i];
        if (count > want)
            return slot_value(i) / 1e3;
    }
    return slowest / 1e3;
}

/* Sending. */

static void *sender(void *unused)
{
    static struct packet *made[2][BATCH];
    static struct iovec parts[2][BATCH];
    static struct mmsghdr batch[2][BATCH];
    size_t length = 12 + payload;

    prctl(PR_SET_TIMERSLACK, 1);
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < BATCH; i++) {
            made[side][i] = calloc(1, LONGEST);
            parts[side][i] = (struct iovec){made[side][i], length};
            batch[side][i].msg_hdr = (struct msghdr){.msg_iov = &parts[side][i], .msg_iovlen = 1};
        }
    uint64_t start = clock_ns(CLOCK_MONOTONIC), turn = 0, base = 0;
    enum phase last = WARMING;
    for (;;) {
        enum phase now = phase;
        if (now >= DRAINING)
            return unused;
        if (now != last) {      /* what could not be sent while warming up is forgotten */
            start = clock_ns(CLOCK_MONOTONIC);
            base = turn;
            last = now;
        }
        double due = rate * (clock_ns(CLOCK_MONOTONIC) - start) / 1e9 - (double)(turn - base);
        if (rate > 0 && due < 1) {
            nap(NAP_NS / 1e9);
            continue;
        }
        unsigned count = rate > 0 && due < BATCH ? (unsigned)due : BATCH, filled[2] = {0, 0};
        uint64_t stamp = clock_ns(CLOCK_REALTIME);
        for (unsigned i = 0; i < count; i++) {
            unsigned id = turn++ % streams, side = id & 1, at = filled[side]++;
            struct packet *p = made[side][at];
            uint32_t number = stream[id].next++;
            p->first = 0x80;
            p->type = payload == 20 ? 18 : 0;   /* G.729 or PCMU, by their usual sizes */
            p->sequence = htons((uint16_t)number);
            p->timestamp = htonl(number * 160);
            p->ssrc = htonl(ssrc_base + id);
            p->made = stamp;
            p->stream = id;
            p->number = now == MEASURING ? number | MARK : number;
            batch[side][at].msg_hdr.msg_name = &ends[side][id >> 1].to;
            batch[side][at].msg_hdr.msg_namelen = ends[side][id >> 1].length;
        }
        for (int side = 0; side < 2; side++)
            for (unsigned done = 0; done < filled[side];) {
                int sent = sendmmsg(sockets[side], batch[side] + done, filled[side] - done, 0);
                if (sent <= 0) {
                    refused++;
                    sent = 1;
                }
                done += sent;
            }
        if (now == MEASURING)
            offered += count;
    }
}

/* Receiving. */

static int same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    if (a->ss_family != b->ss_family)
        return 0;
    if (a->ss_family == AF_INET) {
        const struct sockaddr_in *x = (const void *)a, *y = (const void *)b;
        return x->sin_port == y->sin_port && x->sin_addr.s_addr == y->sin_addr.s_addr;
    }
    const struct sockaddr_in6 *x = (const void *)a, *y = (const void *)b;
    return x->sin6_port == y->sin6_port && !memcmp(&x->sin6_addr, &y->sin6_addr, 16);
}

static uint64_t arrival(struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPNS) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(c), sizeof t);
            return t.tv_sec * 1000000000ull + t.tv_nsec;
        }
    return clock_ns(CLOCK_REALTIME);
}

/* Whether this packet has not come before; counts repetition and wrong order. */
static int fresh(struct stream *s, uint32_t number)
{
    if (number >= s->end) {
        uint32_t ahead = number + 1 - s->end;
        s->seen = ahead >= 64 ? 1 : s->seen << ahead | 1;
        s->end = number + 1;
        return 1;
    }
    uint32_t behind = s->end - 1 - number;
    if (behind < 64) {
        if (s->seen >> behind & 1) {
            duplicates++;
            return 0;
        }
        s->seen |= 1ull << behind;
    }
    reordered++;
    return 1;
}

static void take(int side, struct mmsghdr *m)
{
    const struct packet *p = m->msg_hdr.msg_iov->iov_base;
    uint32_t number = p->number & ~MARK;

    /* A stream is even from caller to callee; a packet left over from an earlier run is foreign. */
    if (m->msg_len != (unsigned)(12 + payload) || p->stream >= streams
        || (int)(p->stream & 1) == side || p->ssrc != htonl(ssrc_base + p->stream)
        || p->sequence != htons((uint16_t)number)) {
        foreign++;
        return;
    }
    arrived++;
    if (!same_address(m->msg_hdr.msg_name, &ends[side][p->stream >> 1].to))
        wrong_source++;
    if (!fresh(&stream[p->stream], number) || !(p->number & MARK))
        return;
    int64_t delay = arrival(&m->msg_hdr) - p->made;
    if (delay < 0)
        delay = 0;
    received++;
    late += delay > deadline;
    histogram[slot(delay)]++;
    if ((uint64_t)delay > slowest)
        slowest = delay;
}

/* Never waits in poll(2): whoever sends to a waiting socket has to wake its owner, and the relay
 * would be charged for that, as it never is by a network card. */
static void *receiver(void *unused)
{
    static uint8_t data[BATCH][LONGEST], control[BATCH][128];
    static struct sockaddr_storage from[BATCH];
    struct mmsghdr batch[BATCH];
    struct iovec parts[BATCH];

    prctl(PR_SET_TIMERSLACK, 1);
    while (phase < OVER) {
        int most = 0;
        for (int side = 0; side < 2; side++) {
            for (int i = 0; i < BATCH; i++) {
                parts[i] = (struct iovec){data[i], LONGEST};
                batch[i].msg_hdr = (struct msghdr){
                    .msg_name = &from[i], .msg_namelen = sizeof from[i],
                    .msg_iov = &parts[i], .msg_iovlen = 1,
                    .msg_control = control[i], .msg_controllen = sizeof control[i]};
            }
            int count = recvmmsg(sockets[side], batch, BATCH, MSG_DONTWAIT, NULL);
            for (int i = 0; i < count; i++)
                take(side, &batch[i]);
            if (count > most)
                most = count;
        }
        if (most < BATCH)
            nap(2 * NAP_NS / 1e9);
    }
    return unused;
}

/* What is watched: the time all threads of a process have run. */

static uint64_t run_time(int pid)
{
    char path[64 + 256];
    uint64_t sum = 0;
    struct dirent *entry;

    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    while (tasks && (entry = readdir(tasks))) {
        unsigned long long ran;
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, entry->d_name);
        FILE *file = fopen(path, "r");
        if (!file)
            continue;
        if (fscanf(file, "%llu", &ran) == 1)
            sum += ran;
        fclose(file);
    }
    if (tasks)
        closedir(tasks);
    return sum;
}

static uint64_t drops(void)
{
    uint32_t info[16], sum = 0;
    for (int side = 0; side < 2; side++) {
        socklen_t size = sizeof info;
        if (!getsockopt(sockets[side], SOL_SOCKET, SO_MEMINFO, info, &size) && size > 8 * 4)
            sum += info[8];
    }
    return sum;
}

/* The command line. */

static void read_end(struct end *e, const char *host, unsigned port)
{
    struct sockaddr_in *v4 = (void *)&e->to;
    struct sockaddr_in6 *v6 = (void *)&e->to;
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        e->length = sizeof *v4;
    } else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        e->length = sizeof *v6;
    } else {
        fprintf(stderr, "not an address: %s\n", host);
        exit(1);
    }
}

static void read_routes(void)
{
    char host[2][64];
    unsigned port[2], count = 0, room = 0;
    while (scanf("%63s %u %63s %u", host[0], &port[0], host[1], &port[1]) == 4) {
        if (count == room) {
            room = room ? 2 * room : 1024;
            for (int side = 0; side < 2; side++)
                if (!(ends[side] = realloc(ends[side], room * sizeof *ends[side])))
                    fail("realloc");
        }
        for (int side = 0; side < 2; side++) {
            memset(&ends[side][count], 0, sizeof *ends[side]);
            read_end(&ends[side][count], host[side], port[side]);
        }
        count++;
    }
    streams = 2 * count;
    stream = calloc(streams + 1, sizeof *stream);
}

static void prepare(int fd)
{
    int size = BUFFER, on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on))
        fail("SO_TIMESTAMPNS");
}

static void watch(char *argument)
{
    char *equals = strchr(argument, '=');
    if (!equals || watching == WATCHED)
        return;
    *equals = 0;
    watched[watching++] = (struct watch){.label = argument, .pid = atoi(equals + 1)};
}

static void read_options(int argc, char **argv)
{
    static const struct option options[] = {
        {"caller", 1, 0, 'a'}, {"callee", 1, 0, 'b'}, {"payload", 1, 0, 'p'}, {"rate", 1, 0, 'r'},
        {"seconds", 1, 0, 's'}, {"warm", 1, 0, 'w'}, {"drain", 1, 0, 'd'}, {"late-ms", 1, 0, 'l'},
        {"watch", 1, 0, 'W'}, {0}};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (option) {
        case 'a': sockets[0] = atoi(optarg); break;
        case 'b': sockets[1] = atoi(optarg); break;
        case 'p': payload = atoi(optarg); break;
        case 'r': rate = atof(optarg); break;
        case 's': window = atof(optarg); break;
        case 'w': warming = atof(optarg); break;
        case 'd': draining = atof(optarg); break;
        case 'l': deadline = atof(optarg) * 1e6; break;
        case 'W': watch(optarg); break;
        default: exit(2);
        }
    if (payload < (int)sizeof(struct packet) - 12 || payload > LONGEST - 12) {
        fprintf(stderr, "a payload has %zu to %d octets\n", sizeof(struct packet) - 12,
                LONGEST - 12);
        exit(2);
    }
}

static void report(double seconds, const uint64_t ran[2], uint64_t in_window, uint64_t dropped)
{
    printf("{\"seconds\": %.6f, \"offered\": %llu, \"received\": %llu, \"late\": %llu, "
           "\"duplicates\": %llu, \"reordered\": %llu, \"foreign\": %llu, \"wrong_source\": %llu, "
           "\"refused\": %llu, \"sink_drops\": %llu, \"in_window\": %llu, ",
           seconds, (unsigned long long)offered, (unsigned long long)received,
           (unsigned long long)late, (unsigned long long)duplicates,
           (unsigned long long)reordered, (unsigned long long)foreign,
           (unsigned long long)wrong_source, (unsigned long long)refused,
           (unsigned long long)dropped, (unsigned long long)in_window);
    printf("\"delay_us\": {\"p50\": %.1f, \"p99\": %.1f, \"p99.9\": %.1f, \"max\": %.1f}, ",
           quantile_us(.5), quantile_us(.99), quantile_us(.999), slowest / 1e3);
    printf("\"cpu_ns\": {\"sender\": %llu, \"receiver\": %llu", (unsigned long long)ran[0],
           (unsigned long long)ran[1]);
    for (int i = 0; i < watching; i++) {
        uint64_t sum = 0;
        int first = 1;
        for (int j = 0; j < watching; j++)
            if (!strcmp(watched[i].label, watched[j].label)) {
                first &= j >= i;
                sum += watched[j].after - watched[j].before;
            }
        if (first)
            printf(", \"%s\": %llu", watched[i].label, (unsigned long long)sum);
    }
    printf("}}\n");
}

int main(int argc, char **argv)
{
    pthread_t threads[2];
    clockid_t clocks[2];
    uint64_t ran[2];

    read_options(argc, argv);
    read_routes();
    if (!streams) {
        fprintf(stderr, "no sessions\n");
        return 2;
    }
    for (int side = 0; side < 2; side++)
        prepare(sockets[side]);
    ssrc_base = (uint32_t)clock_ns(CLOCK_REALTIME) * 2654435761u;

    uint64_t dropped = drops();
    if (pthread_create(&threads[1], NULL, receiver, NULL)
        || pthread_create(&threads[0], NULL, sender, NULL))
        fail("pthread_create");
    for (int i = 0; i < 2; i++)
        pthread_getcpuclockid(threads[i], &clocks[i]);
    nap(warming);

    for (int i = 0; i < watching; i++)
        watched[i].before = run_time(watched[i].pid);
    for (int i = 0; i < 2; i++)
        ran[i] = clock_ns(clocks[i]);
    uint64_t began = clock_ns(CLOCK_MONOTONIC), count = arrived;
    phase = MEASURING;
    nap(window);
    phase = DRAINING;
    uint64_t ended = clock_ns(CLOCK_MONOTONIC);
    count = arrived - count;
    for (int i = 0; i < 2; i++)
        ran[i] = clock_ns(clocks[i]) - ran[i];
    for (int i = 0; i < watching; i++)
        watched[i].after = run_time(watched[i].pid);

    pthread_join(threads[0], NULL);
    nap(draining);
    phase = OVER;
    pthread_join(threads[1], NULL);
    report((ended - began) / 1e9, ran, count, drops() - dropped);
    return 0;
}
