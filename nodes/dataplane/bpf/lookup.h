// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Questions to the tables.
#pragma once

#include "packet.h"
#include "tables.h"

static __always_inline struct settings *current_settings(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&settings, &zero);
}

static __always_inline struct port *port_of(struct __sk_buff *skb)
{
	__u32 index = skb->ifindex;

	return bpf_map_lookup_elem(&ports, &index);
}

static __always_inline __be32 scope_of(__u32 instance, __u8 version)
{
	return bpf_htonl(instance << 8 | version);
}

static __always_inline struct eid_key host_key(__u32 instance, __u8 version, const __be32 address[4])
{
	struct eid_key key = {
		.length = version == 4 ? 32 + 32 : 32 + 128,
		.scope = scope_of(instance, version),
	};

	__builtin_memcpy(key.address, address, sizeof(key.address));
	return key;
}

static __always_inline bool is_aggregate(const struct eid_key *key, __u32 flag)
{
	__u32 *flags = bpf_map_lookup_elem(&aggregates, key);

	return flags && *flags & flag;
}

static __always_inline bool is_own(__u8 version, const __be32 address[4])
{
	struct rloc_key key = {.version = version};

	__builtin_memcpy(key.address, address, sizeof(key.address));
	return bpf_map_lookup_elem(&own, &key) != NULL;
}
