// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Flows that are known: what was decided about a packet is true of those that follow, for a moment. They skip the
// tables, the routes and the neighbours.
//
// A flow is known until any table changes (`generation`: the daemon raises it after each write), and no longer than
// LIFE: so long the kernel's own routes and neighbours, contacts, and a daemon that died may lag behind. What
// differs from packet to packet is looked at in each: TTL, length, DSCP, ECN.
#pragma once

#include "encapsulate.h"
#include "room.h"

#define LIFE 20000000ULL // ns

// Where a flow is, if it is known. Not a name: other flows have the same place.
static __always_inline struct flow *place_of(const struct packet *packet, __u32 more)
{
	__u32 hash = packet->source[0] ^ packet->source[1] ^ packet->source[2] ^ packet->source[3], index;

	hash = mix(mix(hash, more), packet->destination[0] ^ packet->destination[1]);
	index = mix(hash, packet->destination[2] ^ packet->destination[3]) >> 8 & (LISP_MOST_FLOWS - 1);
	return bpf_map_lookup_elem(&flows, &index);
}

static __always_inline bool is_same(const __be32 one[4], const __be32 other[4])
{
	return !((one[0] ^ other[0]) | (one[1] ^ other[1]) | (one[2] ^ other[2]) | (one[3] ^ other[3]));
}

static __always_inline bool is_between(const struct flow *flow, const struct packet *packet)
{
	return is_same(flow->source, packet->source) && is_same(flow->destination, packet->destination);
}

static __always_inline bool is_valid(const struct flow *flow, __u32 generation, __u64 now)
{
	return flow->generation == generation && now < flow->until;
}

// Whether the kernel knows the checksum over all of the packet: then each byte written has to be told.
static __always_inline bool is_summed(struct __sk_buff *skb)
{
	return bpf_csum_update(skb, 0) >= 0;
}

// Tell the flow's mapping what went by it, if it is still the one that it was.
static __always_inline void settle(struct flow *flow)
{
	struct eid_key key = {.length = 32 + flow->bits, .scope = flow->scope};
	struct mapping *mapping;

	if (!flow->counter.packets)
		return;
	__builtin_memcpy(key.address, flow->destination, sizeof(key.address));
	mapping = bpf_map_lookup_elem(&map_cache, &key);
	if (mapping && mapping->number == flow->mapping) {
		__sync_fetch_and_add(&mapping->counter.packets, flow->counter.packets);
		__sync_fetch_and_add(&mapping->counter.bytes, flow->counter.bytes);
		mapping->counter.last = flow->counter.last;
	}
	__builtin_memset(&flow->counter, 0, sizeof(flow->counter));
}

// The place of a flow that was decided about just now; NULL, if another is known there.
static __always_inline struct flow *vacate(struct flow *flow, bool is_its_own, __u32 generation, __u64 now)
{
	if (!flow || (is_valid(flow, generation, now) && !is_its_own))
		return NULL;
	settle(flow);
	flow->until = 0;
	return flow;
}

static __always_inline void name(struct flow *flow, const struct packet *packet, __u32 instance)
{
	flow->scope = scope_of(instance, packet->version);
	flow->protocol = packet->protocol;
	flow->ports = packet->ports;
	__builtin_memcpy(flow->source, packet->source, sizeof(flow->source));
	__builtin_memcpy(flow->destination, packet->destination, sizeof(flow->destination));
}

static __always_inline void copy_words(void *to, const void *from, __u32 bytes)
{
	__u64 *words = to;

#pragma unroll
	for (__u32 i = 0; i < bytes / 8; i++)
		words[i] = ((const __u64 *)from)[i];
	if (bytes & 4)
		*(__u32 *)(to + (bytes & ~7)) = *(const __u32 *)(from + (bytes & ~7));
	if (bytes & 2)
		*(__u16 *)(to + (bytes & ~3)) = *(const __u16 *)(from + (bytes & ~3));
}
