// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// No packet overtakes another: what is new in the tables is used once the packets that came before it have left the TUN
// device and the daemon.
#pragma once

#include "lookup.h"

// A packet is on its way from a TUN device to the daemon.
static __always_inline void note_punted(const struct port *port)
{
	__u32 index = port->gate;
	struct gate *gate = bpf_map_lookup_elem(&gates, &index);

	if (gate)
		__sync_fetch_and_add(&gate->punted, 1);
}

// The daemon counts a packet as handled only after a read that found nothing behind it. A packet of another flow that is
// on its way right now keeps the gate shut: then this one goes the same way, and is in order.
static __always_inline bool is_drained(__u32 index)
{
	struct gate *gate = bpf_map_lookup_elem(&gates, &index);

	return gate && *(volatile __u64 *)&gate->punted == *(volatile __u64 *)&gate->handled;
}

static __always_inline bool passes(__u8 *open, __u64 open_until, __u32 gate, __u32 beside)
{
	if (*open)
		return true;
	if (!(is_drained(gate) && (beside == NO_GATE || is_drained(beside))) && bpf_ktime_get_ns() < open_until)
		return false;
	*open = 1;
	return true;
}

// A mapping is used by what comes from the site, and, at an RTR, by what comes from other sites.
static __always_inline bool is_open(struct mapping *mapping, const struct port *port)
{
	struct transit *transit = mapping->open ? NULL : transit_of(port->instance);

	return passes(&mapping->open, mapping->open_until, port->gate, transit ? transit->gate : NO_GATE);
}
