/* The cheapest source of RTP: whole frames through AF_PACKET, past the queueing discipline.
 *
 *     source DEVICE SOURCE_MAC GATE_MAC FLOWS SECONDS CPU PAYLOAD RATE
 *
 * Frames go from 192.0.2.1:20000 to 192.0.2.254, port 10000 + 4n for flow n. Each flow has its own
 * SSRC, numbers and timestamps that go on, and a right UDP checksum. RATE is in packets a second,
 * 0: as many as can be sent. Printed: packets sent, seconds, and nanoseconds of this thread's run
 * time per packet. Over plain veth that is all a packet causes, as far as softirqs take it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define LINE 64 /* octets of a cache line; frames start with one */

struct __attribute__((packed)) rtp {
    uint8_t first, type;
    uint16_t sequence;
    uint32_t timestamp, ssrc;
};

struct __attribute__((packed)) frame {
    uint8_t to[6], from[6];
    uint16_t kind;
    struct iphdr ip;
    struct udphdr udp;
    struct rtp rtp;
};

static uint32_t sum(const void *data, size_t size, uint32_t total)
{
    const uint8_t *at = data;
    for (; size > 1; size -= 2, at += 2)
        total += at[0] | at[1] << 8;
    return size ? total + at[0] : total;
}

static uint16_t fold(uint32_t total)
{
    while (total >> 16)
        total = (total & 0xffff) + (total >> 16);
    return ~total;
}

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void read_mac(const char *text, uint8_t *mac)
{
    if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4,
               mac + 5) != 6)
        exit(2);
}

static void make(struct frame *f, char **argv, int flow, int payload)
{
    int datagram = sizeof(struct udphdr) + sizeof(struct rtp) + payload;
    read_mac(argv[3], f->to);
    read_mac(argv[2], f->from);
    f->kind = htons(ETHERTYPE_IP);
    f->ip = (struct iphdr){.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP,
        .frag_off = htons(0x4000), .tot_len = htons(sizeof f->ip + datagram)};
    inet_pton(AF_INET, "192.0.2.1", &f->ip.saddr);
    inet_pton(AF_INET, "192.0.2.254", &f->ip.daddr);
    f->ip.check = fold(sum(&f->ip, sizeof f->ip, 0));
    f->udp.source = htons(20000);
    f->udp.dest = htons(10000 + 4 * flow);
    f->udp.len = htons(datagram);
    f->rtp = (struct rtp){0x80, 18, 0, 0, htonl(0x10000 + flow)};
    uint32_t pseudo = sum(&f->ip.saddr, 8, htons(IPPROTO_UDP) + f->udp.len);
    f->udp.check = fold(sum(&f->udp, datagram, pseudo));
}

/* The next packet of the flow: number and timestamp, and what they do to the checksum (RFC 1624). */
static void advance(struct frame *f)
{
    uint32_t old = f->rtp.sequence + (f->rtp.timestamp & 0xffff) + (f->rtp.timestamp >> 16);
    f->rtp.sequence = htons(ntohs(f->rtp.sequence) + 1);
    f->rtp.timestamp = htonl(ntohl(f->rtp.timestamp) + 160);
    uint32_t new = f->rtp.sequence + (f->rtp.timestamp & 0xffff) + (f->rtp.timestamp >> 16);
    while (old >> 16)
        old = (old & 0xffff) + (old >> 16);
    uint32_t total = (uint16_t)~f->udp.check + (uint16_t)~old + new;
    f->udp.check = fold(total);
}

int main(int argc, char **argv)
{
    if (argc != 9)
        return 2;
    int flows = atoi(argv[4]), cpu = atoi(argv[6]), payload = atoi(argv[7]);
    double length = atof(argv[5]), rate = atof(argv[8]);
    int size = sizeof(struct frame) + payload, buffer = 32 << 20, on = 1;
    size_t room = (size + LINE - 1) / LINE * LINE;

    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
    int fd = socket(AF_PACKET, SOCK_RAW, 0);
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(argv[1])};
    if (fd < 0 || bind(fd, (void *)&address, sizeof address)) {
        perror("bind");
        return 1;
    }
    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer);
    uint8_t *frames = aligned_alloc(LINE, flows * room);
    struct mmsghdr *batch = calloc(flows, sizeof *batch);
    struct iovec *parts = calloc(flows, sizeof *parts);
    for (int i = 0; i < flows; i++) {
        memset(frames + room * i, 0, room);
        make((void *)(frames + room * i), argv, i, payload);
        parts[i] = (struct iovec){frames + room * i, size};
        batch[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }

    double start = seconds_of(CLOCK_MONOTONIC), ran = seconds_of(CLOCK_THREAD_CPUTIME_ID), now;
    uint64_t sent = 0;
    int at = 0;
    while ((now = seconds_of(CLOCK_MONOTONIC)) - start < length) {
        int most = flows - at < BATCH ? flows - at : BATCH;
        if (rate > 0) {
            double due = rate * (now - start) - sent;
            if (due < 1) {
                usleep(100);
                continue;
            }
            if (due < most)
                most = due;
        }
        int done = sendmmsg(fd, batch + at, most, 0);
        for (int i = 0; i < done; i++)
            advance((void *)(frames + room * (at + i)));
        if (done > 0) {
            sent += done;
            at = (at + done) % flows;
        }
    }
    now = seconds_of(CLOCK_MONOTONIC) - start;
    ran = seconds_of(CLOCK_THREAD_CPUTIME_ID) - ran;
    printf("%llu %.6f %.2f\n", (unsigned long long)sent, now, ran / sent * 1e9);
    return 0;
}
