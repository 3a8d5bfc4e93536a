// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A packet that came in LISP headers.
#pragma once

#include "packet.h"

struct arrived {
	struct packet outer;
	struct packet inner;
	__u32 instance;
	__u32 generation; // of the tables by which it is judged
	__u32 status_bits; // as in struct event, if it `tells` them
	__u16 room; // bytes in front of the inner packet
	__u8 tos; // what the inner packet will have
	__u8 ttl;
	bool congested; // it cannot say what was met in the core, and is dropped
	bool native; // forwarded natively, by a PETR
	bool tells; // which locators of its source's site are up
};
