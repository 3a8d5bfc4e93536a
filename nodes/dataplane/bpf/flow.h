// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// One flow, one locator, one source port (RFC 9300 sections 5.3 and 9). nodes/dataplane/packet.py (flow_hash) and
// nodes/dataplane/decision.py (choose) have the same rules: a flow keeps both when it changes from one path to the other.
#pragma once

#include "packet.h"
#include "tables.h"

#define NO_LOCATOR LISP_MOST_LOCATORS
#define UNUSED_PRIORITY 255

static __always_inline __u32 mix(__u32 hash, __u32 word)
{
	hash = (hash ^ word) * 0x9E3779B1;
	return hash ^ hash >> 16;
}

static __always_inline __u32 mix_address(__u32 hash, const __be32 address[4], __u8 version)
{
	hash = mix(hash, bpf_ntohl(address[0]));
	if (version == 4)
		return hash;
	hash = mix(hash, bpf_ntohl(address[1]));
	hash = mix(hash, bpf_ntohl(address[2]));
	return mix(hash, bpf_ntohl(address[3]));
}

static __always_inline __u32 flow_hash(const struct packet *packet)
{
	__u32 hash = 0x4C495350; // "LISP"

	hash = mix_address(hash, packet->source, packet->version);
	hash = mix_address(hash, packet->destination, packet->version);
	if (!packet->fragment) { // of fragments only the first has ports: all hash on the addresses alone
		hash = mix(hash, packet->protocol);
		hash = mix(hash, packet->ports);
	}
	hash = (hash ^ hash >> 13) * 0x85EBCA6B;
	return hash ^ hash >> 16;
}

static __always_inline __be16 source_port(__u32 hash)
{
	return bpf_htons(0xC000 | (hash & 0x3FFF));
}

// What a candidate counts among those of a priority: weight << 8 | 1; or 0, where it is none or cannot be used now.
__noinline __u32 share_of(const struct mapping *mapping, __u32 which, __u32 priority)
{
	struct locator *locator;
	__u32 index;

	if (!mapping || which >= LISP_MOST_CANDIDATES || mapping->candidates[which].priority != priority)
		return 0;
	index = mapping->candidates[which].locator;
	locator = bpf_map_lookup_elem(&locators, &index);
	if (!locator || !locator->version || !locator->usable)
		return 0;
	return mapping->candidates[which].weight << 8 | 1;
}

// The lowest priority of a candidate that can be used: they are sorted.
static __always_inline __u32 best_priority(const struct mapping *mapping)
{
	for (__u32 i = 0; i < LISP_MOST_CANDIDATES && i < mapping->count; i++) {
		if (share_of(mapping, i, mapping->candidates[i].priority))
			return mapping->candidates[i].priority;
	}
	return UNUSED_PRIORITY;
}

// The index of the flow's locator among the usable ones of the best priority, by weight; or NO_LOCATOR.
__noinline __u32 choose(const struct mapping *mapping, __u32 hash)
{
	__u32 best, sum = 0, end = 0, pick, shift;

	if (!mapping)
		return NO_LOCATOR;
	best = best_priority(mapping);
	for (__u32 i = 0; i < LISP_MOST_CANDIDATES && i < mapping->count; i++)
		sum += share_of(mapping, i, best);
	shift = sum >> 8 ? 8 : 0; // all weights 0: the sender shares as it likes, here evenly
	pick = (hash >> 16) * (sum >> shift) >> 16;
	for (__u32 i = 0; i < LISP_MOST_CANDIDATES && i < mapping->count; i++) {
		end += share_of(mapping, i, best) >> shift;
		if (pick < end)
			return mapping->candidates[i].locator;
	}
	return NO_LOCATOR;
}
