// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Known flows out of LISP headers.
#pragma once

#include "arrived.h"
#include "known.h"

static __always_inline struct flow *place_inwards(const struct arrived *arrived)
{
	return place_of(&arrived->inner, arrived->instance ^ arrived->outer.source[0] ^ arrived->outer.source[3]);
}

static __always_inline bool is_inwards(const struct flow *flow, const struct arrived *arrived, __u32 interface)
{
	return flow->interface == interface && flow->rloc_version == arrived->outer.version &&
	       flow->scope == scope_of(arrived->instance, arrived->inner.version) &&
	       is_same(flow->rloc, arrived->outer.source) && is_same(flow->own, arrived->outer.destination) &&
	       is_between(flow, &arrived->inner);
}

// A packet was taken out of LISP headers, and left by this way, on which every address is known.
__noinline int know_inwards(struct __sk_buff *skb, const struct arrived *arrived, const struct bpf_fib_lookup *way)
{
	__u64 now = bpf_ktime_get_coarse_ns();
	struct flow *flow;

	if (!arrived || !way)
		return 0;
	flow = place_inwards(arrived);
	flow = vacate(flow, flow && is_inwards(flow, arrived, skb->ifindex), arrived->generation, now);
	if (!flow)
		return 0;
	address((struct ethhdr *)flow->header, way, arrived->inner.version);
	name(flow, &arrived->inner, arrived->instance);
	flow->interface = skb->ifindex;
	flow->rloc_version = arrived->outer.version;
	__builtin_memcpy(flow->rloc, arrived->outer.source, sizeof(flow->rloc));
	__builtin_memcpy(flow->own, arrived->outer.destination, sizeof(flow->own));
	flow->way = way->ifindex;
	flow->most = way->mtu_result;
	flow->native = arrived->native;
	flow->generation = arrived->generation;
	flow->until = now + LIFE;
	return 0;
}

static __always_inline bool put_naked(struct __sk_buff *skb, const struct arrived *arrived, const struct flow *flow)
{
	void *frame = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (frame + ETH_HLEN + sizeof(struct iphdr) > end)
		return false;
	copy_words(frame, flow->header, ETH_HLEN);
	write_tos_and_ttl(frame + ETH_HLEN, &arrived->inner, arrived->tos, arrived->ttl - 1);
	return true;
}

// Send a packet the way of its flow, if it is known and the packet has nothing odd about it.
__noinline int go_inwards(struct __sk_buff *skb, const struct arrived *arrived)
{
	const struct packet *inner;
	struct flow *flow;

	if (!arrived)
		return TC_ACT_UNSPEC;
	inner = &arrived->inner;
	flow = place_inwards(arrived);
	if (!flow || !is_valid(flow, arrived->generation, bpf_ktime_get_coarse_ns()) ||
	    !is_inwards(flow, arrived, skb->ifindex))
		return TC_ACT_UNSPEC;
	if (arrived->ttl <= 1 || arrived->congested || inner->segment > flow->most || is_summed(skb))
		return TC_ACT_UNSPEC;
	if (trim(skb, ETH_HLEN + arrived->room + inner->length) ||
	    shrink(skb, arrived->room, arrived->outer.version, inner->version, false))
		return TC_ACT_UNSPEC;
	if (!put_naked(skb, arrived, flow)) {
		count(STAT_DROP_KERNEL, 1);
		return TC_ACT_SHOT;
	}
	count(STAT_DECAPSULATED, inner->count);
	count(STAT_DECAPSULATED_BYTES, bytes_of(inner));
	if (flow->native)
		count(STAT_NATIVE, inner->count);
	return bpf_redirect(flow->way, 0);
}
