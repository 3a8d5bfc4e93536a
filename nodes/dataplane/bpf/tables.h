// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The maps themselves. A machine runs the routers of a hundred labs: what is allocated before it is used is kept small.
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#include "maps.h"

#define MOST_PREFIXES (1 << 20) // tries allocate entry by entry
#define NEIGHBOUR_BITS 8

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MOST_PREFIXES);
	__type(key, struct eid_key);
	__type(value, struct mapping);
} map_cache SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MOST_PREFIXES);
	__type(key, struct eid_key);
	__type(value, struct local);
} local SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MOST_PREFIXES);
	__type(key, struct eid_key);
	__type(value, __u32); // enum aggregate_flag, or-ed
} aggregates SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MOST_PREFIXES);
	__type(key, struct eid_key);
	__type(value, __u32); // enum native_route
} native SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 256);
	__type(key, struct rloc_key);
	__type(value, __u32); // 1
} own SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, __u32); // index of an interface
	__type(value, struct port);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, __u32);   // instance-ID
	__type(value, __u32); // index of its TUN device
} devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, __u32); // instance-ID
	__type(value, struct transit);
} transits SEC(".maps");

// A key that lies in a function's argument is none to Linux 6.1: it takes those on the stack and in map values.
static __always_inline struct transit *transit_of(__u32 instance)
{
	return bpf_map_lookup_elem(&transits, &instance);
}

static __always_inline __u32 *device_of(__u32 instance)
{
	return bpf_map_lookup_elem(&devices, &instance);
}

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LISP_MOST_LOCATORS);
	__type(key, __u32);
	__type(value, struct locator);
} locators SEC(".maps");

// Not for each CPU on its own: on a machine of 64 that would be megabytes for every router.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LISP_MOST_LOCATORS);
	__type(key, __u32); // as in `locators`
	__type(value, struct counter);
} locator_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2048); // a TUN device and a transit device for each instance
	__type(key, __u32);
	__type(value, struct gate);
} gates SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

// For each CPU on its own: what it knows of the flows that it sees. 26 KiB each.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LISP_MOST_FLOWS);
	__type(key, __u32);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct contact_key);
	__type(value, __u64); // CLOCK_MONOTONIC, ns, at most a second old while data flows
} contacts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 15);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct told_key);
	__type(value, __u64); // CLOCK_MONOTONIC, ns
} told SEC(".maps");

// The Locator-Status-Bits that came last, by inner and outer source: the daemon is told of others.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct contact_key);
	__type(value, __u32);
} heard SEC(".maps");

// When a frame last went to a neighbour by way of the kernel's neighbour table.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << NEIGHBOUR_BITS);
	__type(key, __u32);   // a hash of interface and MAC address
	__type(value, __u64); // CLOCK_MONOTONIC, ns
} asked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STAT_COUNT);
	__type(key, __u32); // enum statistic
	__type(value, __u64);
} statistics SEC(".maps");
