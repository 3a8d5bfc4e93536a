// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the programs read in an IP header, and the little they rewrite. They read where the packet lies: `gather` sees to it
// that all its headers lie in one piece.
//
// Functions that are not static are so for the verifier: it goes through each of them once, by itself, and not again for
// every way that leads there. Every router of a lab has its programs verified when it starts.
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define UDP_LITE 136
#define EINVAL 22
#define ANY_FRAGMENT 0x3FFF // MF and the offset
#define MOST_HEADERS 192    // bytes: Ethernet, IP, UDP and LISP headers, IP and TCP inside

struct packet {
	__be32 first;  // of its 32-bit words: it holds DSCP and ECN
	__be16 check;  // of IPv4
	__u16 length;  // in bytes, by its header
	__u16 segment; // the same, or of a super-packet the longest of its segments
	__u16 count;   // of segments
	__u8 version;
	__u8 header; // its length: IPv4 without options, IPv6 without extensions
	__u8 tos;    // DSCP and ECN
	__u8 ttl;
	__u8 protocol;
	__u8 fragment; // any, the first one included
	__u16 repeated; // bytes of headers that each further segment repeats
	__u32 ports; // source << 16 | destination; 0 where there are none
	__be32 source[4];
	__be32 destination[4];
};

union ip_header {
	struct iphdr v4;
	struct ipv6hdr v6;
	__be32 words[10];
};

enum parsed {
	PARSED,
	ODD,       // IPv4 options: the stack knows them
	MALFORMED, // no IP packet, cut off, or with a wrong header checksum
	ENCRYPTED, // in a LISP header with a key
};

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xFFFF) + (sum >> 16);
	return sum + (sum >> 16);
}

// RFC 1071, over a header without options. Byte order does not matter.
static __always_inline __u16 header_checksum(const struct iphdr *ip)
{
	const __be16 *halves = (const __be16 *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += halves[i];
	return (__u16)~fold(sum);
}

static __always_inline int parse_v4(const union ip_header *ip, __u32 room, struct packet *packet)
{
	if (ip->v4.ihl < 5)
		return MALFORMED;
	packet->length = bpf_ntohs(ip->v4.tot_len);
	if (packet->length < ip->v4.ihl * 4 || packet->length > room)
		return MALFORMED;
	if (ip->v4.ihl > 5)
		return ODD;
	if (header_checksum(&ip->v4))
		return MALFORMED;
	packet->check = ip->v4.check;
	packet->header = sizeof(ip->v4);
	packet->tos = ip->v4.tos;
	packet->ttl = ip->v4.ttl;
	packet->protocol = ip->v4.protocol;
	packet->fragment = !!(ip->v4.frag_off & bpf_htons(ANY_FRAGMENT));
	packet->source[0] = ip->v4.saddr;
	packet->destination[0] = ip->v4.daddr;
	return PARSED;
}

static __always_inline int parse_v6(const union ip_header *ip, __u32 room, struct packet *packet)
{
	if (sizeof(ip->v6) + bpf_ntohs(ip->v6.payload_len) > room)
		return MALFORMED;
	packet->length = sizeof(ip->v6) + bpf_ntohs(ip->v6.payload_len);
	packet->header = sizeof(ip->v6);
	packet->tos = bpf_ntohl(ip->words[0]) >> 20;
	packet->ttl = ip->v6.hop_limit;
	packet->protocol = ip->v6.nexthdr;
	packet->fragment = ip->v6.nexthdr == IPPROTO_FRAGMENT;
	__builtin_memcpy(packet->source, &ip->v6.saddr, 16);
	__builtin_memcpy(packet->destination, &ip->v6.daddr, 16);
	return PARSED;
}

static __always_inline bool has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP ||
	       protocol == IPPROTO_DCCP || protocol == UDP_LITE;
}

// Bring the headers together in memory. False: there is no memory for that.
static __always_inline bool gather(struct __sk_buff *skb)
{
	__u32 there = skb->data_end - skb->data;

	if (there >= MOST_HEADERS || there >= skb->len)
		return true;
	return !bpf_skb_pull_data(skb, skb->len < MOST_HEADERS ? skb->len : MOST_HEADERS);
}

// Where a header of so many bytes is; NULL, if the packet ends before it does.
static __always_inline const void *find(struct __sk_buff *skb, __u32 at, __u32 bytes)
{
	const void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (at > MOST_HEADERS || data + at + bytes > end)
		return NULL;
	return data + at;
}

// Read the IP header at `at`, of a packet that has `room` bytes.
__noinline int parse(struct __sk_buff *skb, __u32 at, __u32 room, struct packet *packet)
{
	const union ip_header *ip;
	const __be32 *ports;
	int parsed;

	if (!packet)
		return MALFORMED;
	__builtin_memset(packet, 0, sizeof(*packet));
	ip = find(skb, at, sizeof(ip->v4));
	if (!ip || room < sizeof(ip->v4))
		return MALFORMED;
	packet->first = ip->words[0];
	packet->version = ip->v4.version;
	if (packet->version == 4) {
		parsed = parse_v4(ip, room, packet);
	} else {
		ip = find(skb, at, sizeof(ip->v6));
		if (!ip || room < sizeof(ip->v6) || packet->version != 6)
			return MALFORMED;
		parsed = parse_v6(ip, room, packet);
	}
	if (parsed != PARSED)
		return parsed;
	packet->segment = packet->length;
	packet->count = 1;
	if (!has_ports(packet->protocol) || packet->fragment || packet->length < packet->header + sizeof(*ports))
		return PARSED;
	ports = find(skb, at + packet->header, sizeof(*ports));
	if (ports)
		packet->ports = bpf_ntohl(*ports);
	return PARSED;
}

// A super-packet (GSO) stays in one piece as long as the kernel can cut it later: TCP. Its segments have to fit, not it.
// UDP's are the stack's: with a header of ours around them, the kernel would drop them.
static __always_inline bool measure(struct __sk_buff *skb, __u32 at, __u32 room, struct packet *packet)
{
	__u32 headers, most = skb->gso_size;
	struct tcphdr tcp;

	if (!most)
		return true;
	if (packet->protocol != IPPROTO_TCP || packet->length != room ||
	    bpf_skb_load_bytes(skb, at + packet->header, &tcp, sizeof(tcp)))
		return false;
	headers = packet->header + tcp.doff * 4;
	if (headers >= packet->length)
		return false;
	packet->count = (packet->length - headers + most - 1) / most;
	packet->repeated = headers;
	if (packet->count > 1)
		packet->segment = headers + most;
	return true;
}

// Groups, broadcast, and what stays on one link or in one host: never inside a LISP header. So does 0.0.0.0/8 here, and
// class E: what the kernel would not route is the stack's to judge.
static __always_inline bool is_unicast_v4(__be32 address)
{
	__u32 value = bpf_ntohl(address), first = value >> 24;

	return first != 0 && first != 127 && first < 224 && value >> 16 != 0xA9FE;
}

static __always_inline bool is_unicast_v6(const __be32 address[4])
{
	__u32 first = bpf_ntohl(address[0]);

	if (first >> 24 == 0xFF || first >> 22 == 0xFE80 >> 6)
		return false;
	return address[0] || address[1] || address[2] || bpf_ntohl(address[3]) > 1;
}

static __always_inline bool is_unicast(const struct packet *packet)
{
	if (packet->version == 4)
		return is_unicast_v4(packet->source[0]) && is_unicast_v4(packet->destination[0]);
	return is_unicast_v6(packet->source) && is_unicast_v6(packet->destination);
}

// RFC 1624: take the old 16-bit words out of the checksum and the new ones in.
static __always_inline __be16 changed_checksum(const struct packet *packet, __u8 tos, __u8 ttl)
{
	__u32 sum = (__u16)~bpf_ntohs(packet->check);

	sum += (__u16)~packet->tos + tos;
	sum += (__u16)~(packet->ttl << 8) + (ttl << 8);
	return bpf_htons((__u16)~fold(sum));
}

static __always_inline __be32 changed_first(const struct packet *packet, __u8 tos)
{
	return (packet->first & bpf_htonl(0xF00FFFFF)) | bpf_htonl((__u32)tos << 20);
}

static __always_inline int rewrite_v4(struct __sk_buff *skb, __u32 at, const struct packet *packet, __u8 tos, __u8 ttl)
{
	struct {
		__u8 ttl, protocol;
		__be16 check;
	} tail = {.ttl = ttl, .protocol = packet->protocol, .check = changed_checksum(packet, tos, ttl)};
	int refused = 0;

	if (tos != packet->tos)
		refused = bpf_skb_store_bytes(skb, at + 1, &tos, sizeof(tos), BPF_F_RECOMPUTE_CSUM);
	return refused ?: bpf_skb_store_bytes(skb, at + 8, &tail, sizeof(tail), BPF_F_RECOMPUTE_CSUM);
}

static __always_inline int rewrite_v6(struct __sk_buff *skb, __u32 at, const struct packet *packet, __u8 tos, __u8 ttl)
{
	__be32 first = changed_first(packet, tos);
	int refused = 0;

	if (tos != packet->tos)
		refused = bpf_skb_store_bytes(skb, at, &first, sizeof(first), BPF_F_RECOMPUTE_CSUM);
	return refused ?: bpf_skb_store_bytes(skb, at + 7, &ttl, sizeof(ttl), BPF_F_RECOMPUTE_CSUM);
}

// Write DSCP, ECN and TTL of the packet at `at`. Not 0: the kernel refused.
__noinline int rewrite(struct __sk_buff *skb, __u32 at, const struct packet *packet, __u8 tos, __u8 ttl)
{
	if (!packet)
		return -EINVAL;
	if (packet->version == 4)
		return rewrite_v4(skb, at, packet, tos, ttl);
	return rewrite_v6(skb, at, packet, tos, ttl);
}

// The same where the header can be written in place.
static __always_inline void write_tos_and_ttl(union ip_header *ip, const struct packet *packet, __u8 tos, __u8 ttl)
{
	if (packet->version == 4) {
		ip->v4.tos = tos;
		ip->v4.ttl = ttl;
		ip->v4.check = changed_checksum(packet, tos, ttl);
	} else {
		ip->words[0] = changed_first(packet, tos);
		ip->v6.hop_limit = ttl;
	}
}

// Cut off what stands behind the packet: the padding of short frames would arrive as data otherwise. To be done first:
// the kernel does not do it inside a header, and then nothing has been changed yet.
static __always_inline long trim(struct __sk_buff *skb, __u32 length)
{
	return skb->len > length && !skb->gso_size ? bpf_skb_change_tail(skb, length, 0) : 0;
}
