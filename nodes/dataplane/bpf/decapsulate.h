// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What is inside LISP headers, and how it comes out of them.
#pragma once

#include "known_again.h"

enum ecn { NOT_ECT, ECT1, ECT0, CE };

static __always_inline int drop(enum statistic reason)
{
	count(reason, 1);
	return TC_ACT_SHOT;
}

// For whomever it is.
static __always_inline bool is_lisp_data(const struct packet *packet)
{
	return packet->protocol == IPPROTO_UDP && !packet->fragment && (packet->ports & 0xFFFF) == LISP_PORT;
}

// What DSCP, ECN and TTL become.
static __always_inline void join(struct arrived *arrived)
{
	__u8 outside = arrived->outer.tos & 3, inside = arrived->inner.tos & 3;

	// RFC 6040 section 4.2, figure 4.
	arrived->congested = outside == CE && !inside;
	if (outside == CE || (outside == ECT1 && inside == ECT0))
		inside = outside;
	arrived->tos = (arrived->outer.tos & 0xFC) | inside; // the outer DSCP: RFC 9300 section 5.3
	// The same section: the outer TTL, where it is the smaller one, so that loops end.
	arrived->ttl = arrived->inner.ttl < arrived->outer.ttl ? arrived->inner.ttl : arrived->outer.ttl;
}

// Read what is behind the outer IP header. PARSED, or what is wrong with it; `skb` is not changed.
__noinline int parse_lisp(struct __sk_buff *skb, struct arrived *arrived)
{
	const struct {
		struct udphdr udp;
		struct lisp_header lisp;
	} *header;
	const struct udphdr *udp;
	__u32 at, length;
	int parsed;

	if (!arrived)
		return ODD;
	at = ETH_HLEN + arrived->outer.header;
	udp = find(skb, at, sizeof(*udp));
	if (!udp)
		return ODD;
	length = bpf_ntohs(udp->len);
	if (length < sizeof(*udp) || arrived->outer.header + length > arrived->outer.length)
		return ODD; // no UDP packet: the kernel counts it as such
	header = find(skb, at, sizeof(*header));
	if (!header || length <= sizeof(*header))
		return MALFORMED;
	if (header->lisp.flags & LISP_KK)
		return ENCRYPTED;
	// Requirements D06 to D08: nonce, versions and the reserved bits are not looked at.
	arrived->tells = header->lisp.flags & LISP_L;
	arrived->status_bits = bpf_ntohl(header->lisp.instance);
	if (header->lisp.flags & LISP_I) {
		arrived->instance = arrived->status_bits >> 8;
		arrived->status_bits |= 0xFFFFFF00;
	}
	arrived->room = arrived->outer.header + sizeof(*header);
	length -= sizeof(*header);
	at += sizeof(*header);
	parsed = parse(skb, at, length, &arrived->inner);
	if (parsed == PARSED && !measure(skb, at, length, &arrived->inner))
		return ODD;
	return parsed;
}

// Take off the outer headers, write DSCP, ECN and TTL. TC_ACT_OK: done; otherwise it is dropped or the stack's.
static __always_inline int strip(struct __sk_buff *skb, const struct arrived *arrived, bool insist)
{
	const struct packet *inner = &arrived->inner;

	if (trim(skb, ETH_HLEN + arrived->room + inner->length) ||
	    shrink(skb, arrived->room, arrived->outer.version, inner->version, insist))
		return TC_ACT_UNSPEC;
	if (rewrite(skb, ETH_HLEN, inner, arrived->tos, arrived->ttl))
		return drop(STAT_DROP_KERNEL);
	return TC_ACT_OK;
}

__noinline int account_arrived(const struct arrived *arrived)
{
	const struct packet *inner;

	if (!arrived)
		return 0;
	inner = &arrived->inner;
	count(STAT_DECAPSULATED, inner->count);
	count(STAT_DECAPSULATED_BYTES, bytes_of(inner));
	note_contact(scope_of(arrived->instance, inner->version), inner->destination, arrived->outer.version,
		     arrived->outer.source, bpf_ktime_get_ns());
	return 0;
}
