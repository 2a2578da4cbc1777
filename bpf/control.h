/* SPDX-License-Identifier: GPL-2.0-only */
/* What user space tells the programs while they run. */
#ifndef UIDTRACED_CONTROL_H
#define UIDTRACED_CONTROL_H

#include "event.h"
#include <bpf/bpf_helpers.h>

/* a section of its own, so that it starts the map that user space writes to */
volatile struct control control SEC(".data.control") = {};

/* of this program; where a new version takes over, control.generation says whose turn it is */
const volatile __u32 generation SEC(".rodata.generation") = 1;

#endif
