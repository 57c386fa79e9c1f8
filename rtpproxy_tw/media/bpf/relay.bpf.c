/* The relay's fast path: settled streams go from one peer to the other without leaving the kernel.
 *
 * It runs at TC ingress. A datagram for one of our ports is looked up by its destination; when it
 * comes from the one source that is believed there, it is counted, given the addresses, TOS and
 * TTL that the relay's own socket would give it, and sent on to the neighbour. Everything else goes
 * up the stack as if this program were not there, and so reaches the relay's socket: other
 * protocols, fragments, IP options, extension headers, VLAN tags, merged segments, packets that
 * would not fit the way out, streams that are not settled.
 *
 * A slot describes a stream and counts it; the relay writes and reads slots through mmap. Two
 * words keep both sides honest:
 *   live  the relay's: 0 while it changes the description
 *   busy  ours: how many packets of the stream are in here
 * The relay clears live and waits for busy to be 0; from then on nothing in the slot changes, so
 * final counters are final. A packet that finds another one busy in its slot goes to the socket,
 * which makes the one that is alone free to use plain loads and stores for the RTP statistics.
 *
 * The two ways must not overtake each other, so an ordered stream is held whenever anything of it
 * goes up: from then on all of it does. Each such packet leaves a print of itself in the slot. The
 * relay, when it has sent on what its socket gave it, writes down the print of that. Where both are
 * the same nothing is left on the slow way, and the next packet passes here.
 *
 * Which neighbour a packet goes to is the kernel's business: routes and neighbours (ARP, NDP) are its
 * tables. To spare a look-up of the neighbour for every packet, the relay follows the news
 * of those tables and keeps the hardware addresses in ``hops``. What is
 * there is used while the relay vouches for it, which it does every second; and once a second for
 * each neighbour a packet goes the kernel's way all the same. So the kernel sees the neighbour being
 * used, probes it when it must, and finds out about one that is gone as it does with any traffic.
 *
 * A device of a pair (veth) whose other end is in another network namespace, as in a container, would
 * put each packet into a queue for the other end to find. Where the relay says that nobody looks on, a
 * packet goes across at once instead, unless one of its stream before it may still be in that queue.
 *
 * Nothing here is newer than Linux 5.10: atomic operations are additions without a result, helpers
 * are those of 5.10, and no BTF is needed. On processors that reorder a store with later loads
 * (arm64) such an addition is no barrier; the relay's system call between clearing live and reading
 * busy takes longer by far than any of them holds a store back.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>

#define SEC(name) __attribute__((section(name), used))
#define inline_always static inline __attribute__((always_inline))

/* Between the network's order and ours: the object is for little-endian machines. */
#define swap16(x) __builtin_bswap16(x)
#define swap32(x) __builtin_bswap32(x)

#define LOOPBACK 1 /* the number of lo, in every network namespace */

#define AF_INET 2
#define AF_INET6 10

/* As TCX and clsact both know them. NEXT lets whoever comes after us have its say. */
#define NEXT -1
#define DROP 2

/* Helpers, by their numbers in the kernel's interface. */
static void *(*lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static __u64 (*clock_ns)(void) = (void *)BPF_FUNC_ktime_get_ns;
static long (*store)(struct __sk_buff *, __u32 at, const void *from, __u32 size, __u64 flags) =
	(void *)BPF_FUNC_skb_store_bytes;
static long (*load)(const struct __sk_buff *, __u32 at, void *to, __u32 size) =
	(void *)BPF_FUNC_skb_load_bytes;
static long (*fix_checksum)(struct __sk_buff *, __u32 at, __u64 from, __u64 to, __u64 flags) =
	(void *)BPF_FUNC_l4_csum_replace;
static long (*change_family)(struct __sk_buff *, __be16 protocol, __u64 flags) =
	(void *)BPF_FUNC_skb_change_proto;
static long (*push)(struct __sk_buff *, __u32 size, __u64 flags) = (void *)BPF_FUNC_skb_change_head;
static long (*pull)(struct __sk_buff *, __u32 size) = (void *)BPF_FUNC_skb_pull_data;
static long (*adjust_sum)(struct __sk_buff *, __wsum change) = (void *)BPF_FUNC_csum_update;
static long (*redirect)(__u32 device, __u64 flags) = (void *)BPF_FUNC_redirect;
static long (*redirect_peer)(__u32 device, __u64 flags) = (void *)BPF_FUNC_redirect_peer;
static long (*redirect_neigh)(__u32 device, struct bpf_redir_neigh *via, int size, __u64 flags) =
	(void *)BPF_FUNC_redirect_neigh;
static void *(*ring_reserve)(void *ring, __u64 size, __u64 flags) =
	(void *)BPF_FUNC_ringbuf_reserve;
static void (*ring_submit)(void *record, __u64 flags) = (void *)BPF_FUNC_ringbuf_submit;
static void (*ring_discard)(void *record, __u64 flags) = (void *)BPF_FUNC_ringbuf_discard;

#define add(word, n) ((void)__sync_fetch_and_add(&(word), (n)))
/* Keeps the compiler from making one addition, at a computed place, out of two in two branches.
 * Without CAP_PERFMON the verifier allows no such arithmetic, because of what processors guess. */
#define APART(number) asm volatile("" : : "i"(number))
#define fresh(word) (*(volatile __typeof__(word) *)&(word))

/* What the relay and this program share. layout.py has the same, and tests compare the two. */

#define F_RTP 1   /* keep RTP statistics */
#define F_TAP 2   /* copy to the ring */
#define F_LOCAL 4 /* the destination is this host */
#define F_ORDERED 8 /* nothing may overtake what goes up */

#define RECENT 10
#define NO_PAYLOAD_TYPE 0xffffffff

struct key {
	__u32 address[4]; /* network order, IPv4 in the first; all zero: any address of this host */
	__u16 port;       /* network order */
	__u16 family;
};

/* Of a thousand calls each packet finds what it needs here gone from the processor's caches, so it
 * costs time by the cache line. What a usual packet of IPv4 touches is therefore in four lines of a
 * ``slot``, and all else, by the same number, in a ``rest``. */

struct rtp {
	__u32 ssrc, payload_type;
	__u64 seen; /* bit n: the number n below the highest has come */
	__s64 offset, highest;
	__u64 received;
	__u32 recent[RECENT];                                         /* timestamps, the newest first */
	__u64 jitter_last, jitter_peak, jitter_total, jitter_samples; /* ticks, times 4096 */
	__u64 ticks;                                                  /* when the last packet came */
	__u32 timestamp, clock_rate;
	__u32 recent_count, source_samples;
};

struct slot {
	__u64 live, busy;
	/* description; of addresses the first words: all of IPv4 */
	__u32 hop; /* place in ``hops``, and above that its mark; 0: none */
	__u32 local, source, from, to;
	__u16 local_port, source_port, from_port, to_port; /* network order */
	__u32 device;
	__u16 flags, max_length;                 /* of the IP packet as it arrives */
	__u8 family, family_out, via_family;     /* via_family 0: the kernel looks up the route */
	__u8 tos, ttl, pad[3];
	/* counters */
	__u16 held;            /* whether all goes up */
	__u16 across;          /* the last packet went right to the other end of a pair of devices */
	__u64 passed;          /* the print of the last that did, by the relay */
	__u64 packets, octets; /* relayed; octets of UDP payload */
	__u64 last_ns, gap_ns; /* when the last one came; the longest time between two */
	__u64 unusual;         /* how often something in the ``rest`` was counted */
	struct rtp rtp;
	__u64 spare; /* so that slots start with cache lines */
};

struct rest {
	/* description; of addresses the other words */
	__u32 local[3], source[3], from[3], to[3], via[4];
	__u32 serial, budget;
	/* counters */
	__u64 print;            /* of the last packet that went up */
	__u64 handed;           /* of the believed source, left to the socket */
	__u64 failed;           /* lost because the kernel had no memory for the change */
	__u64 foreign, refused; /* of others: left to the socket, dropped here */
	__u64 foreign_since, foreign_now;
	__u64 tap_lost;
	/* RTP statistics */
	__s64 earlier, lowest;
	__u64 duplicates, errors, ssrc_changes;
	__u64 spare[2];
};

/* Both, of one flow. */
struct flow {
	struct slot *s;
	struct rest *rest;
};

/* Where a device's neighbour is. Each address is written at once, and valid for the slots with the
 * same mark, which is of one neighbour and never used again soon: whatever else is written here
 * meanwhile, no packet gets the address of another neighbour, or half of one. */
struct hop {
	__u64 to, from; /* the neighbour's address and the device's own; the mark in the top 16 bits */
	__u64 asked;    /* ours: when a packet went the kernel's way last */
	__u64 across;   /* 1 and the mark: packets may go right to the other end of a pair of devices */
};

#define ASK_NS 1000000000

/* After so long a packet is no longer in the queue between two devices of a pair, which is emptied
 * by the same processor that has filled it, in turn with what else comes to it. */
#define QUEUED_NS 5000000

struct state {
	__u64 until;   /* until when, by clock_ns, there is a relay behind all this */
	__u64 vouched; /* until when ``hops`` is what the kernel's tables say */
};

struct record {
	__u64 ns;
	__u32 serial, length;
	__u8 data[];
};

#define SMALL 256 /* octets of a record, header included: most audio, */
#define MIDDLE 1024
#define LARGE 2048 /* and all that Ethernet carries */

/* Maps are made by the relay; here they are but names. */
#define MAP(name) char name[1] SEC(".maps")
/* By place_of, of four ports each: 0, a slot's number and one, or SEVERAL. Small, as what is used of
 * it has to stay in the processor's caches beside all else: ports come in no order. */
MAP(ports);
MAP(flows); /* struct key -> number of the slot; asked where ``ports`` does not say */
MAP(slots);
MAP(rests);
MAP(state);
MAP(hops);
MAP(hosts); /* the addresses of this host, as struct key with port 0 */
MAP(ring);

#define SEVERAL 0xffff /* or one whose number has no room there */

/* A datagram, taken apart. What is known when this is compiled, where its IP header starts and
 * whether that is IPv6, goes beside it as ``l3`` and ``v6``. */
struct packet {
	__u32 source[4], host[4];
	__u16 source_port, port;
	__u16 checksum;
	__u32 length;  /* of the IP packet */
	__u32 payload; /* octets of UDP payload */
	__u32 first;   /* IPv4 only: identification and fragment word */
	__u32 flow;    /* IPv6 only: version, traffic class, flow label */
	__u8 ttl;
};

struct head_ethernet {
	__u16 to[3], from[3], protocol;
};

struct head4 {
	__u8 version, tos;
	__u16 length;
	__u32 first;
	__u8 ttl, protocol;
	__u16 check;
	__u32 source, to;
};

struct head6 {
	__u32 flow;
	__u16 length;
	__u8 next, hops;
	__u32 source[4], to[4];
};

struct head_udp {
	__u16 source, to, length, check;
};

inline_always __u32 fold32(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

inline_always __u16 fold16(__u64 sum)
{
	__u32 s = fold32(sum);
	s = (s & 0xffff) + (s >> 16);
	return (s & 0xffff) + (s >> 16);
}

inline_always __u16 sum_head4(const struct head4 *ip)
{
	const __u32 *w = (const __u32 *)ip;
	return fold16((__u64)w[0] + w[1] + w[2] + w[3] + w[4]);
}

/* IPv4 addresses have but one word; the others are zeros everywhere. */
inline_always int same(const __u32 *a, __u32 first, const __u32 *others, const int v6)
{
	return a[0] == first &&
	       (!v6 || (a[1] == others[0] && a[2] == others[1] && a[3] == others[2]));
}

inline_always __u32 payload_at(const __u32 l3, const int v6)
{
	return l3 + (v6 ? sizeof(struct head6) : sizeof(struct head4)) + sizeof(struct head_udp);
}

/* --- RTP statistics: as quality/analyzer.py has them, with a window of 64 numbers --- */

#define MAX_STEP 536
#define NEAR_WRAP 65000
#define JUST_STARTED 65500
#define CYCLE 65536

inline_always void restart(const struct flow *f, struct rtp *r, __s64 number)
{
	add(f->s->unusual, 1);
	f->rest->earlier += r->highest - f->rest->lowest + 1;
	f->rest->lowest = r->highest = number;
	r->seen = 1;
	r->received++;
}

inline_always void mark(const struct flow *f, struct rtp *r, __s64 number)
{
	__s64 ahead = number - r->highest;
	if (ahead > 0) {
		r->highest = number;
		r->seen = ahead < 64 ? r->seen << ahead | 1 : 1;
		r->received++;
		return;
	}
	__u64 behind = -ahead;
	if (behind < 64) {
		__u64 bit = 1ull << behind;
		if (r->seen & bit) {
			f->rest->duplicates++;
			APART(2);
			return;
		}
		r->seen |= bit;
	}
	if (number < f->rest->lowest) {
		if (r->offset)
			return;
		f->rest->lowest = number;
		add(f->s->unusual, 1);
	}
	r->received++;
}

/* Counts a packet that is not the next one; whether its timestamp may have been reset. */
inline_always int place(const struct flow *f, struct rtp *r, __s64 number, __u32 sequence,
			int marker)
{
	__s64 highest = r->highest;
	__s64 low_half = highest & (CYCLE - 1);
	if (marker && number < highest && low_half != CYCLE - 1) {
		restart(f, r, number);
		return 1;
	}
	int reset = number == 0 && low_half < JUST_STARTED;
	if (low_half < MAX_STEP && sequence > NEAR_WRAP) {
		number = highest - low_half - CYCLE + sequence;
	} else if (highest > NEAR_WRAP && number < highest - NEAR_WRAP) {
		r->offset += CYCLE;
		number += CYCLE;
	} else if (number - highest > MAX_STEP || highest - number > MAX_STEP) {
		restart(f, r, number);
		return reset;
	}
	mark(f, r, number);
	return reset;
}

/* Hz of the static payload types (RFC 3551 table 4); 0 where it is not known without the SDP. */
inline_always __u32 clock_rate_of(__u32 payload_type)
{
	/* 0 3 4 5 7 8 9 12 13 15 18 */
	if (payload_type < 32 && 0x4b3b9u >> payload_type & 1)
		return 8000;
	switch (payload_type) {
	case 6:
		return 16000;
	case 10:
	case 11:
		return 44100;
	case 14:
		return 90000;
	case 16:
		return 11025;
	case 17:
		return 22050;
	}
	return 0;
}

inline_always void sample_jitter(struct rtp *r, __s64 elapsed, __s64 step)
{
	__s64 size = elapsed < 0 ? -elapsed : elapsed;
	if (step < -(1ll << 31))
		step += 1ll << 32;
	else if (elapsed && (step < -50 * size || step > 1024 * size))
		return;
	__s64 d = elapsed - step;
	if (d < 0)
		d = -d;
	__s64 last = r->source_samples ? r->jitter_last : 0;
	last += ((d << 12) - last) >> 4;
	r->jitter_last = last;
	r->jitter_total += last;
	r->jitter_samples++;
	r->source_samples++;
	if (last > (__s64)r->jitter_peak)
		r->jitter_peak = last;
}

/* Without a branch: the verifier would walk through each of a thousand ways to answer. */
inline_always int is_recent(const struct rtp *r, __u32 timestamp)
{
	__u64 found = 0, count = r->recent_count;
#pragma unroll
	for (int i = 0; i < RECENT; i++) {
		__u64 differs = r->recent[i] ^ timestamp;
		asm volatile("" : "+r"(differs));
		found |= (differs - 1) & (i - count);
	}
	return found >> 63;
}

inline_always void remember(struct rtp *r, __u32 timestamp)
{
#pragma unroll
	for (int i = RECENT - 1; i; i--)
		r->recent[i] = r->recent[i - 1];
	r->recent[0] = timestamp;
	if (r->recent_count < RECENT)
		r->recent_count++;
}

inline_always void jitter(struct rtp *r, __u32 timestamp, __u32 rate, int reset, __u64 now)
{
	__u64 ticks = now / 1000000000 * rate + now % 1000000000 * rate / 1000000000;
	if (is_recent(r, timestamp)) {
		if (r->source_samples)
			return;
	} else {
		remember(r, timestamp);
		if (rate == r->clock_rate && !reset)
			sample_jitter(r, ticks - r->ticks, (__s64)timestamp - r->timestamp);
	}
	r->clock_rate = rate;
	r->ticks = ticks;
	r->timestamp = timestamp;
}

/* Whether CSRCs, extension and padding fit (rtp.py: peek). */
inline_always int is_whole(struct __sk_buff *skb, const struct packet *p, const __u32 at, __u8 first)
{
	__u32 size = 12 + (first & 15) * 4;
	if (first & 0x10) {
		__u16 words;
		size += 4;
		if (size > p->payload || load(skb, at + size - 2, &words, 2))
			return 0;
		size += swap16(words) * 4;
	}
	if (first & 0x20) {
		__u8 padding;
		if (load(skb, at + p->payload - 1, &padding, 1) || !padding)
			return 0;
		size += padding;
	}
	return size <= p->payload;
}

struct head_rtp {
	__u8 first, second;
	__u16 sequence;
	__u32 timestamp, ssrc;
};

/* Straight out of the packet where it can be reached, which nearly always it can. */
inline_always int load_head(struct __sk_buff *skb, const __u32 at, struct head_rtp *to)
{
	const struct head_rtp *there = (void *)(long)skb->data + at;
	if ((void *)(there + 1) > (void *)(long)skb->data_end)
		return load(skb, at, to, sizeof *to);
	*to = *there;
	return 0;
}

inline_always void analyse(struct __sk_buff *skb, const struct packet *p, const __u32 at,
			   const struct flow *f, __u64 now)
{
	struct rtp *r = &f->s->rtp;
	struct head_rtp h;
	if (p->payload < sizeof h || load_head(skb, at, &h) || h.first >> 6 != 2 ||
	    (h.second >= 200 && h.second <= 213) ||
	    (h.first != 0x80 && !is_whole(skb, p, at, h.first))) {
		f->rest->errors++;
		return;
	}
	__u32 sequence = swap16(h.sequence);
	int reset = 0;
	if (r->payload_type == NO_PAYLOAD_TYPE || h.ssrc != r->ssrc) {
		r->ssrc = h.ssrc;
		f->rest->ssrc_changes++;
		r->clock_rate = r->recent_count = r->source_samples = 0;
		restart(f, r, sequence);
	} else {
		__s64 number = (__s64)sequence + r->offset;
		if (number == r->highest + 1) {
			r->highest = number;
			r->seen = r->seen << 1 | 1;
			r->received++;
		} else {
			reset = place(f, r, number, sequence, h.second >> 7);
		}
	}
	r->payload_type = h.second & 127;
	__u32 rate = clock_rate_of(h.second & 127);
	if (rate)
		jitter(r, swap32(h.timestamp), rate, reset, now);
}

/* --- the tap --- */

/* Copies the payload into a record of so many octets; whether there was room. */
inline_always int copy(struct __sk_buff *skb, const struct packet *p, const __u32 at,
		       const struct rest *rest, __u64 now, const __u32 size)
{
	struct record *record = ring_reserve(&ring, size, 0);
	if (!record)
		return 0;
	record->ns = now;
	record->serial = rest->serial;
	record->length = p->payload;
	/* The verifier must see the bounds here, where the compiler knows them already; and as one
	 * less, since before Linux 6.8 it learns nothing from "not 0". */
	__u64 less = (__u64)p->payload - 1;
	asm volatile("" : "+r"(less));
	if (less < size - sizeof *record && load(skb, at, record->data, less + 1)) {
		ring_discard(record, BPF_RB_NO_WAKEUP);
		return 0;
	}
	ring_submit(record, BPF_RB_NO_WAKEUP);
	return 1;
}

inline_always int tap(struct __sk_buff *skb, const struct packet *p, const __u32 at,
		      const struct rest *rest, __u64 now)
{
	if (p->payload <= SMALL - sizeof(struct record))
		return copy(skb, p, at, rest, now, SMALL);
	if (p->payload <= MIDDLE - sizeof(struct record))
		return copy(skb, p, at, rest, now, MIDDLE);
	return copy(skb, p, at, rest, now, LARGE);
}

/* --- sending on --- */

inline_always __u16 ttl_of(const struct packet *p, const struct slot *s)
{
	/* Two streams of ours that lead to each other would relay a packet for ever. As long as it
	 * stays on this host it ages; at last it goes to a socket. */
	return s->flags & F_LOCAL ? p->ttl - 1 : s->ttl;
}

/* Headers are written a word at a time, and straight to where they belong. */
inline_always void fill4(__u32 *ip, const struct packet *p, const struct slot *s)
{
	__u16 length = swap16(p->payload + sizeof(struct head_udp) + sizeof(struct head4));
	__u32 first = 0x45 | (__u32)s->tos << 8 | (__u32)length << 16;
	__u32 third = ttl_of(p, s) | IPPROTO_UDP << 8;
	__u64 sum = (__u64)first + p->first + third + s->from + s->to;
	ip[0] = first;
	ip[1] = p->first;
	ip[2] = third | (__u32)(__u16)~fold16(sum) << 16;
	ip[3] = s->from;
	ip[4] = s->to;
}

inline_always __u32 first_word6(const struct slot *s)
{
	return swap32(6u << 28 | (__u32)s->tos << 20);
}

inline_always void fill6(__u32 *ip, const struct packet *p, const struct flow *f)
{
	const struct slot *s = f->s;
	__u16 length = swap16(p->payload + sizeof(struct head_udp));
	ip[0] = first_word6(s);
	ip[1] = length | IPPROTO_UDP << 16 | (__u32)(__u8)ttl_of(p, s) << 24;
	ip[2] = s->from;
	ip[6] = s->to;
#pragma unroll
	for (int i = 0; i < 3; i++) {
		ip[3 + i] = f->rest->from[i];
		ip[7 + i] = f->rest->to[i];
	}
}

inline_always __u32 both_ports(const struct slot *s)
{
	return (__u32)s->from_port | (__u32)s->to_port << 16;
}

/* What the change of addresses, and that of ports, does to the UDP checksum. */
inline_always __u32 address_change(const struct packet *p, const struct flow *f, const int v6,
				   const int to6)
{
	__u64 sum = (__u64)f->s->from + f->s->to;
#pragma unroll
	for (int i = 0; i < 4; i++)
		if (v6 || !i)
			sum += (__u64)(__u32)~p->source[i] + (__u32)~p->host[i];
#pragma unroll
	for (int i = 0; i < 3; i++)
		if (to6)
			sum += (__u64)f->rest->from[i] + f->rest->to[i];
	return fold32(sum);
}

inline_always __u32 port_change(const struct packet *p, const struct slot *s)
{
	__u32 old = (__u32)p->source_port | (__u32)p->port << 16;
	__u32 new = both_ports(s);
	return fold32((__u64)(__u32)~old + new);
}

/* What stands in the checksum's place where a device is yet to make it: the sum of the addresses,
 * protocol and length. A whole checksum is the same by chance, once in 65,536 packets. */
inline_always __u16 sum_pseudo(const struct packet *p, const int v6)
{
	__u64 sum = (__u64)p->source[0] + p->host[0];
	if (v6)
		sum += (__u64)p->source[1] + p->source[2] + p->source[3] + p->host[1] + p->host[2] +
		       p->host[3];
	return fold16(sum + swap16(IPPROTO_UDP) + swap16(p->payload + sizeof(struct head_udp)));
}

/* The datagram's checksum after the change, and after it 0 where only the kernel can tell what it
 * has to be: a whole one, or what a device goes on from. */
inline_always int sum_anew(const struct packet *p, const struct flow *f, const int v6, __u16 *sum)
{
	*sum = p->checksum;
	if (!p->checksum)
		return 1;
	if (p->checksum == sum_pseudo(p, v6))
		return 0;
	__u64 change = (__u64)address_change(p, f, v6, v6) + port_change(p, f->s);
	__u16 new = ~fold16(change + (__u16)~p->checksum);
	*sum = new ? new : 0xffff;
	return 1;
}

/* Lets the kernel change the UDP checksum, whatever it is. */
inline_always long fix(struct __sk_buff *skb, const __u32 at, __u32 addresses, __u32 ports)
{
	return fix_checksum(skb, at, 0, addresses, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0) ||
	       fix_checksum(skb, at, 0, ports, BPF_F_MARK_MANGLED_0);
}

inline_always void fill_udp(__u32 *udp, const struct packet *p, const struct slot *s,
			    __u16 checksum)
{
	udp[0] = both_ports(s);
	udp[1] = swap16(p->payload + sizeof(struct head_udp)) | (__u32)checksum << 16;
}

/* What the new headers change in a checksum that a device has made over the whole packet, from the
 * IP header on. That of an IPv4 header is 0 before and after, and the UDP checksum outweighs what
 * it covers: the addresses, where they are within the packet, which is so with IPv6. Where
 * the kernel is to fix the UDP checksum, it accounts for that itself. */
inline_always __u32 whole_change(const struct packet *p, const struct flow *f, const int v6,
				 int known)
{
	const struct slot *s = f->s;
	if (!v6) {
		if (!known)
			return 0;
		return p->checksum ? ~address_change(p, f, 0, 0) : port_change(p, s);
	}
	__u64 sum = (__u64)(__u32)~p->flow + first_word6(s);
	sum += (__u64)(__u32)~((__u32)p->ttl << 24) + ((__u32)(__u8)ttl_of(p, s) << 24);
	return fold32(known ? sum : sum + address_change(p, f, 1, 1));
}

inline_always void fill_ethernet(struct head_ethernet *eth, const struct hop *via, const int v6)
{
	eth->to[0] = via->to;
	eth->to[1] = via->to >> 16;
	eth->to[2] = via->to >> 32;
	eth->from[0] = via->from;
	eth->from[1] = via->from >> 16;
	eth->from[2] = via->from >> 32;
	eth->protocol = v6 ? swap16(ETH_P_IPV6) : swap16(ETH_P_IP);
}

/* New headers in place of the old ones. They are within reach, as they were to be read; to write
 * there directly takes a fraction of the time that it takes by a helper. */
inline_always long replace(struct __sk_buff *skb, const struct packet *p, const struct flow *f,
			   const struct hop *via, const int v6)
{
	const struct slot *s = f->s;
	__u16 checksum;
	int known = sum_anew(p, f, v6, &checksum);
	void *data = (void *)(long)skb->data;
	if (data + payload_at(ETH_HLEN, v6) > (void *)(long)skb->data_end)
		return -1;
	fill_ethernet(data, via, v6);
	if (v6)
		fill6(data + ETH_HLEN, p, f);
	else
		fill4(data + ETH_HLEN, p, s);
	fill_udp(data + payload_at(ETH_HLEN, v6) - sizeof(struct head_udp), p, s, checksum);
	adjust_sum(skb, whole_change(p, f, v6, known));
	if (known)
		return 0;
	return fix(skb, payload_at(ETH_HLEN, v6) - 2, address_change(p, f, v6, v6),
		   port_change(p, s));
}

/* The same with a header of the other family. */
inline_always long convert(struct __sk_buff *skb, const struct packet *p, const struct flow *f,
			   const struct hop *via, const int v6)
{
	const struct slot *s = f->s;
	struct head_ethernet eth;
	__u32 ports = both_ports(s);
	fill_ethernet(&eth, via, !v6);
	if (change_family(skb, eth.protocol, 0) || store(skb, 0, &eth, sizeof eth, 0))
		return -1;
	if (v6) {
		__u32 ip[sizeof(struct head4) / 4];
		fill4(ip, p, s);
		if (store(skb, ETH_HLEN, ip, sizeof ip, BPF_F_RECOMPUTE_CSUM))
			return -1;
	} else {
		__u32 ip[sizeof(struct head6) / 4];
		fill6(ip, p, f);
		if (store(skb, ETH_HLEN, ip, sizeof ip, BPF_F_RECOMPUTE_CSUM))
			return -1;
	}
	const __u32 at = payload_at(ETH_HLEN, !v6);
	if (store(skb, at - sizeof(struct head_udp), &ports, 4, 0))
		return -1;
	return fix(skb, at - 2, address_change(p, f, v6, !v6), port_change(p, s));
}

/* Where the neighbour is; zeros where only the kernel may tell. */
inline_always struct hop find_hop(const struct slot *s, __u64 now, int vouched)
{
	struct hop found = {};
	__u32 word = fresh(s->hop), place = word & 0xffff, mark = word >> 16;
	if (!word || !vouched)
		return found;
	struct hop *h = lookup(&hops, &place);
	if (!h)
		return found;
	__u64 to = fresh(h->to), from = fresh(h->from);
	if (to >> 48 != mark || from >> 48 != mark)
		return found;
	if (now - fresh(h->asked) >= ASK_NS) {
		h->asked = now;
		return found;
	}
	found.to = to;
	found.from = from;
	found.across = fresh(h->across) == ((__u64)mark << 48 | 1);
	return found;
}

inline_always int lose(const struct flow *f)
{
	add(f->rest->failed, 1);
	add(f->s->unusual, 1);
	return DROP;
}

/* Whether none of its stream before it may still be in the queue that this packet passes. */
inline_always int may_go_across(struct slot *s, __u64 since)
{
	if (!s->across) {
		if (since < QUEUED_NS)
			return 0;
		s->across = 1;
	}
	return 1;
}

/* ``since``: how long ago the one before came. */
inline_always int forward(struct __sk_buff *skb, const struct packet *p, const struct flow *f,
			  const __u32 header, const int v6, __u64 now, __u64 since, int vouched)
{
	struct slot *s = f->s;
	/* To be redirected, a packet must have room for an Ethernet header, wherever it came from. */
	if (!header && push(skb, ETH_HLEN, 0))
		return lose(f);
	struct hop at = find_hop(s, now, vouched);
	if (s->family_out == (v6 ? AF_INET6 : AF_INET) ? replace(skb, p, f, &at, v6)
						       : convert(skb, p, f, &at, v6))
		return lose(f);
	/* What came over lo, or without an Ethernet header, is not as a device would have received it. */
	if (at.across && header && skb->ingress_ifindex != LOOPBACK && may_go_across(s, since)) {
		skb->mark = 0; /* it means nothing in another namespace, and is not taken off there */
		return redirect_peer(s->device, 0);
	}
	if (s->across)
		s->across = 0;
	if (at.to)
		return redirect(s->device, 0);
	/* What came over lo has a route already, by which the neighbour's queue would send it once the
	 * neighbour is found; a look-up puts the right one in its place. */
	if (!s->via_family || skb->ingress_ifindex == LOOPBACK)
		return redirect_neigh(s->device, 0, 0, 0);
	struct bpf_redir_neigh via = {.nh_family = s->via_family};
	__builtin_memcpy(via.ipv6_nh, f->rest->via, 16);
	return redirect_neigh(s->device, &via, sizeof via, 0);
}

/* --- deciding --- */

/* Somebody else: the relay wants to see whether a peer has moved, but not a flood. */
inline_always int stranger(const struct flow *f, __u64 now)
{
	struct rest *rest = f->rest;
	if (now - rest->foreign_since >= 1000000000) {
		rest->foreign_since = now;
		rest->foreign_now = 0;
	}
	add(rest->foreign_now, 1);
	if (fresh(rest->foreign_now) > rest->budget) {
		add(rest->refused, 1);
		add(f->s->unusual, 1);
		APART(1);
		return DROP;
	}
	add(rest->foreign, 1);
	return NEXT;
}

inline_always int fits(const struct packet *p, const struct slot *s, const int v6)
{
	if (p->length > s->max_length)
		return 0;
	if (!p->checksum && (v6 || s->family_out == AF_INET6))
		return 0; /* IPv6 needs one, and to make it is the socket's work */
	if (s->flags & F_LOCAL && p->ttl <= 1)
		return 0;
	return !(s->flags & F_TAP) || p->payload <= LARGE - sizeof(struct record);
}

/* Tells a packet from those before and after it: of RTP, type, number and timestamp. Never 0. */
inline_always __u64 print_of(struct __sk_buff *skb, const struct packet *p, const __u32 at)
{
	__u64 print = p->payload;
	if (p->payload >= sizeof print && load(skb, at, &print, sizeof print))
		return 1;
	return print | 1;
}

inline_always void hold(struct __sk_buff *skb, const struct packet *p, const __u32 at,
			const struct flow *f)
{
	f->rest->print = print_of(skb, p, at);
	f->s->held = 1;
	f->s->across = 0;
}

inline_always int must_wait(struct __sk_buff *skb, const struct packet *p, const __u32 at,
			    const struct flow *f)
{
	if (!f->s->held)
		return 0;
	if (!f->rest->print || fresh(f->s->passed) != f->rest->print) {
		f->rest->print = print_of(skb, p, at);
		return 1;
	}
	f->s->held = 0;
	return 0;
}

inline_always int is_any(const struct flow *f, const int v6)
{
	const __u32 *others = f->rest->local;
	return !f->s->local && (!v6 || !(others[0] | others[1] | others[2]));
}

/* Whether the slot takes datagrams for that address and port; ``mine``: as those of any address. */
inline_always int takes(const struct flow *f, const struct packet *p, const int v6, int mine)
{
	if (f->s->local_port != p->port || f->s->family != (v6 ? AF_INET6 : AF_INET))
		return 0;
	return same(p->host, f->s->local, f->rest->local, v6) || (mine && is_any(f, v6));
}

inline_always int carry(struct __sk_buff *skb, const struct packet *p, const struct flow *f,
			const __u32 l3, const int v6, int mine, __u64 now, int vouched)
{
	struct slot *s = f->s;
	const __u32 at = payload_at(l3, v6);
	if (!fresh(s->live) || !takes(f, p, v6, mine))
		return NEXT;
	if (p->source_port != s->source_port || !same(p->source, s->source, f->rest->source, v6))
		return stranger(f, now);
	__u64 since = now - s->last_ns;
	if (s->last_ns && since > s->gap_ns)
		s->gap_ns = since;
	s->last_ns = now;
	if (fresh(s->busy) != 1 || !fits(p, s, v6)) {
		add(f->rest->handed, 1);
		if (s->flags & F_ORDERED)
			hold(skb, p, at, f);
		return NEXT;
	}
	/* From here on nobody else is in the slot. */
	if (must_wait(skb, p, at, f))
		return NEXT;
	if (s->flags & F_TAP && !tap(skb, p, at, f->rest, now)) {
		add(f->rest->tap_lost, 1);
		add(s->unusual, 1);
	}
	if (s->flags & F_RTP)
		analyse(skb, p, at, f, now);
	s->octets += p->payload;
	s->packets++;
	return forward(skb, p, f, l3, v6, now, since, vouched);
}

/* Which of several flows on the same port it is: that of its address before that of any. */
inline_always __u32 *choose(const struct packet *p, const int v6)
{
	struct key key = {.port = p->port, .family = v6 ? AF_INET6 : AF_INET};
	__builtin_memcpy(key.address, p->host, 16);
	__u32 *found = lookup(&flows, &key);
	if (found)
		return found;
	__builtin_memset(key.address, 0, 16);
	return lookup(&flows, &key);
}

/* Whether it is for this host, and not on its way through to another one. */
inline_always int is_mine(const struct packet *p, const int v6)
{
	if (!v6 && *(__u8 *)p->host == 127)
		return 1;
	struct key host = {.family = v6 ? AF_INET6 : AF_INET};
	__builtin_memcpy(host.address, p->host, 16);
	return lookup(&hosts, &host) != 0;
}

/* Even ports before odd ones, as those of RTCP are rarely asked for; IPv6 after IPv4. */
inline_always __u32 place_of(__u32 port, const int v6)
{
	return port / 2 + port % 2 * 32768 + (v6 ? 65536 : 0);
}

inline_always int handle(struct __sk_buff *skb, const struct packet *p, const __u32 l3, const int v6)
{
	__u32 place = place_of(swap16(p->port), v6), row = place / 4, zero = 0;
	__u64 *takers = lookup(&ports, &row);
	__u32 index = takers ? (__u16)(fresh(*takers) >> place % 4 * 16) : 0;
	if (!index)
		return NEXT;
	/* The clock lets the processor wait for all that was asked of memory before, so not later. */
	__u64 now = clock_ns();
	const struct state *given = lookup(&state, &zero);
	if (!given)
		return NEXT;
	if (index == SEVERAL) {
		__u32 *chosen = choose(p, v6);
		if (!chosen)
			return NEXT;
		index = *chosen;
	} else {
		index--;
	}
	struct flow f = {.s = lookup(&slots, &index), .rest = lookup(&rests, &index)};
	if (!f.s || !f.rest)
		return NEXT;
	if (now >= fresh(given->until))
		return NEXT;
	int mine = is_any(&f, v6);
	if (mine && !is_mine(p, v6))
		return NEXT;
	add(f.s->busy, 1);
	int verdict = carry(skb, p, &f, l3, v6, mine, now, now < fresh(given->vouched));
	add(f.s->busy, -1);
	return verdict;
}

/* --- taking apart --- */

/* Whether so many octets can be read directly; some drivers leave nearly all in fragments. */
#define REACH(octets)                                                                         \
	do {                                                                                  \
		data = (void *)(long)skb->data;                                               \
		end = (void *)(long)skb->data_end;                                            \
		if (data + (octets) > end) {                                                  \
			if (skb->len < (octets) || pull(skb, octets))                         \
				return NEXT;                                                  \
			data = (void *)(long)skb->data;                                       \
			end = (void *)(long)skb->data_end;                                    \
			if (data + (octets) > end)                                            \
				return NEXT;                                                  \
		}                                                                             \
	} while (0)

inline_always int take_udp(struct __sk_buff *skb, struct packet *p, const struct head_udp *udp,
			   const __u32 l3, const int v6)
{
	__u32 length = swap16(udp->length);
	if (length < sizeof *udp || payload_at(l3, v6) - sizeof *udp - l3 + length != p->length)
		return 0;
	p->source_port = udp->source;
	p->port = udp->to;
	p->checksum = udp->check;
	p->payload = length - sizeof *udp;
	/* Short frames are padded, so there may be more than that, but not less. */
	return skb->len >= payload_at(l3, v6) + p->payload;
}

inline_always int take4(struct __sk_buff *skb, const __u32 l3)
{
	void *data, *end;
	REACH(l3 + sizeof(struct head4) + sizeof(struct head_udp));
	const struct head4 *ip = data + l3;
	/* 0x3fff: more fragments, or not the first one */
	if (ip->protocol != IPPROTO_UDP || ip->version != 0x45 || ip->first >> 16 & swap16(0x3fff))
		return NEXT;
	struct packet p = {
		.source = {ip->source},
		.host = {ip->to},
		.length = swap16(ip->length),
		.first = ip->first,
		.ttl = ip->ttl,
	};
	if (!take_udp(skb, &p, (void *)(ip + 1), l3, 0) || sum_head4(ip) != 0xffff)
		return NEXT;
	return handle(skb, &p, l3, 0);
}

inline_always int take6(struct __sk_buff *skb, const __u32 l3)
{
	void *data, *end;
	REACH(l3 + sizeof(struct head6) + sizeof(struct head_udp));
	const struct head6 *ip = data + l3;
	if (ip->next != IPPROTO_UDP)
		return NEXT;
	struct packet p = {
		.length = swap16(ip->length) + sizeof *ip,
		.first = swap32(0x4000), /* as IPv4: not to be fragmented */
		.flow = ip->flow,
		.ttl = ip->hops,
	};
	__builtin_memcpy(p.source, ip->source, 16);
	__builtin_memcpy(p.host, ip->to, 16);
	if (!take_udp(skb, &p, (void *)(ip + 1), l3, 1))
		return NEXT;
	return handle(skb, &p, l3, 1);
}

inline_always int take(struct __sk_buff *skb, const __u32 l3)
{
	/* Merged segments (GRO, or a sender's GSO) are several datagrams in one. */
	if (skb->pkt_type != 0 || skb->vlan_present || skb->gso_size)
		return NEXT;
	if (skb->protocol == swap16(ETH_P_IP))
		return take4(skb, l3);
	if (skb->protocol == swap16(ETH_P_IPV6))
		return take6(skb, l3);
	return NEXT;
}

/* For devices whose packets have an Ethernet header, lo included. */
SEC("tc/ethernet") int ethernet(struct __sk_buff *skb)
{
	return take(skb, ETH_HLEN);
}

/* For devices without: tun, WireGuard, tunnels. */
SEC("tc/bare") int bare(struct __sk_buff *skb)
{
	return take(skb, 0);
}

char license[] SEC("text/license") = "BSD-2-Clause";
char compiler[] SEC("text/compiler") = __VERSION__;
char source[] SEC("text/source") = SOURCE_DIGEST;
