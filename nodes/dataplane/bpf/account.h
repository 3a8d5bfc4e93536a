// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the programs write down for the daemon: statistics, counters, contacts, events.
#pragma once

#include "lookup.h"

#define SECOND 1000000000ULL

static __always_inline void count(enum statistic which, __u64 number)
{
	__u32 index = which;
	__u64 *value = bpf_map_lookup_elem(&statistics, &index);

	if (value)
		*value += number;
}

static __always_inline __u32 bytes_of(const struct packet *packet)
{
	// Every segment of a super-packet will have its own headers.
	return packet->length + (packet->count - 1) * packet->repeated;
}

static __always_inline bool is_passed(int verdict)
{
	return verdict != TC_ACT_UNSPEC && verdict != TC_ACT_SHOT;
}

static __always_inline void add(struct counter *counter, const struct packet *packet, __u64 now)
{
	__sync_fetch_and_add(&counter->packets, packet->count);
	__sync_fetch_and_add(&counter->bytes, bytes_of(packet));
	counter->last = now;
}

// Data of an EID went to an RLOC or came from it: whom to tell of a change (requirement C34), whom to probe (C35).
static __always_inline void note_contact(__be32 scope, const void *eid, __u8 rloc_version, const void *rloc, __u64 now)
{
	struct contact_key key = {.scope = scope, .rloc_version = rloc_version};
	__u64 *last;

	__builtin_memcpy(key.eid, eid, sizeof(key.eid));
	__builtin_memcpy(key.rloc, rloc, sizeof(key.rloc));
	last = bpf_map_lookup_elem(&contacts, &key);
	if (!last)
		bpf_map_update_elem(&contacts, &key, &now, BPF_ANY);
	else if (now - *last > SECOND)
		*last = now;
}

// Tell the daemon, at most once a second about the same.
__noinline int tell(const struct event *event)
{
	__u64 now = bpf_ktime_get_ns(), *last;
	struct event key; // Linux 6.1 takes no key that lies in an argument

	if (!event)
		return 0;
	key = *event;
	last = bpf_map_lookup_elem(&told, &key);
	if (last && now - *last < SECOND)
		return 0;
	bpf_map_update_elem(&told, &key, &now, BPF_ANY);
	if (bpf_ringbuf_output(&events, &key, sizeof(key), 0))
		count(STAT_EVENTS_LOST, 1);
	return 0;
}
