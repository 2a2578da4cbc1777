// SPDX-License-Identifier: Apache-2.0
/* What is better said in C: the va_list of libbpf's log, and the ring buffer's memory. */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void uidtraced_log(int level, const char *line);

/* libbpf hands over a va_list, which only C can format */
static int print_line(enum libbpf_print_level level, const char *format, va_list args)
{
	char line[1024], *whole;
	va_list again;
	int n;

	if (level == LIBBPF_DEBUG)
		return 0;
	va_copy(again, args);
	n = vsnprintf(line, sizeof(line), format, args);
	if (n >= (int)sizeof(line) && (whole = malloc(n + 1))) {
		/* of the verifier's log, which is long, the end says what it refused */
		vsnprintf(whole, n + 1, format, again);
		memcpy(line, whole + n + 1 - sizeof(line), sizeof(line));
		free(whole);
	}
	va_end(again);
	uidtraced_log(level, line);
	return n;
}

static void uidtraced_log_start(void)
{
	libbpf_set_print(print_line);
}

/* named, so that bpftool shows whose maps of global data these are */
static struct bpf_object *uidtraced_open(const void *code, size_t size)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "uidtraced");

	return bpf_object__open_mem(code, size, &opts);
}

/* Run a raw_tp program once, in the calling task, with one argument. Its answer must be 0. */
static int uidtraced_run_once(int prog_fd, __u64 argument)
{
	__u64 args[2] = {argument};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = args, .ctx_size_in = sizeof(args));
	int err = bpf_prog_test_run_opts(prog_fd, &opts);

	if (!err && opts.retval) {
		errno = EPROTO;
		return -EPROTO;
	}
	return err;
}

/* Change many entries one by one, as a batch would: without coming back in between. */
static int uidtraced_update_each(int map_fd, const char *keys, size_t key_size, const char *values,
				 size_t value_size, size_t count)
{
	int err = 0;

	for (size_t i = 0; i < count && !err; i++)
		err = bpf_map_update_elem(map_fd, keys + i * key_size, values + i * value_size,
					  BPF_ANY);
	return err;
}

/* The same for taking out; a key that is not in is left so. */
static int uidtraced_delete_each(int map_fd, const char *keys, size_t key_size, size_t count)
{
	int err = 0;

	for (size_t i = 0; i < count && (!err || err == -ENOENT); i++)
		err = bpf_map_delete_elem(map_fd, keys + i * key_size);
	return err == -ENOENT ? 0 : err;
}

/* Let programs on other cpus see the value only with all that was stored before. */
static void uidtraced_store(__u64 *to, __u64 value)
{
	__atomic_store_n(to, value, __ATOMIC_RELEASE);
}

static int uidtraced_map_id(int map_fd, __u32 *id)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	int err = bpf_obj_get_info_by_fd(map_fd, &info, &len);

	*id = info.id;
	return err;
}

/* shape: bytes of a key, of a value, and how many entries at the most */
static int uidtraced_map_shape(int map_fd, __u32 *shape)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	int err = bpf_obj_get_info_by_fd(map_fd, &info, &len);

	shape[0] = info.key_size;
	shape[1] = info.value_size;
	shape[2] = info.max_entries;
	return err;
}

/* -EINVAL for what is no link of a tracepoint. */
static int uidtraced_link_id(int link_fd, __u32 *id)
{
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);
	int err = bpf_obj_get_info_by_fd(link_fd, &info, &len);

	*id = info.id;
	return !err && info.type != BPF_LINK_TYPE_RAW_TRACEPOINT ? -EINVAL : err;
}

/* splitmix64's: each bit of the number changes about half of the result's */
static uint64_t mix(uint64_t number)
{
	number += 0x9e3779b97f4a7c15;
	number = (number ^ number >> 30) * 0xbf58476d1ce4e5b9;
	number = (number ^ number >> 27) * 0x94d049bb133111eb;
	return number ^ number >> 31;
}

/*
 * Sum up pairs of a key (up to 8 bytes) and a number (4 bytes), so that two sums are the same for
 * the same pairs in whatever order, and else are not, but for one in 2^64.
 */
static __u64 uidtraced_sum(const void *keys, size_t key_size, const void *values, size_t count)
{
	uint64_t sum = 0, key;
	uint32_t value;
	size_t i;

	if (key_size > sizeof(key))
		return 0;
	for (i = 0; i < count; i++) {
		key = 0;
		memcpy(&key, (const char *)keys + i * key_size, key_size);
		memcpy(&value, (const char *)values + i * sizeof(value), sizeof(value));
		sum += mix(mix(key) + value);
	}
	return sum;
}

/* Return how many arguments the tracepoint has, if its first is a pointer to a struct; or 0. */
static int uidtraced_tracepoint_of(const struct btf *btf, const char *tracepoint, const char *first)
{
	const struct btf_type *type;
	char name[64];
	int id;

	snprintf(name, sizeof(name), "btf_trace_%s", tracepoint);
	id = btf__find_by_name_kind(btf, name, BTF_KIND_TYPEDEF);
	type = id > 0 ? btf__type_by_id(btf, id) : NULL; /* int (*)(void *data, arguments) */
	type = type ? btf__type_by_id(btf, type->type) : NULL;
	type = type && btf_is_ptr(type) ? btf__type_by_id(btf, type->type) : NULL;
	if (!type || !btf_is_func_proto(type) || btf_vlen(type) < 2)
		return 0;
	id = btf_vlen(type) - 1;
	if (!first)
		return id;
	type = btf__type_by_id(btf, btf_params(type)[1].type);
	if (!type || !btf_is_ptr(type))
		return 0;
	type = btf__type_by_id(btf, type->type);
	return type && !strcmp(btf__name_by_offset(btf, type->name_off), first) ? id : 0;
}

/* Return an enumerator of an enum without a name, or -1. */
static int uidtraced_enumerator(const struct btf *btf, const char *name)
{
	const struct btf_type *type;
	__u32 id;
	int i;

	for (id = 1; id < btf__type_cnt(btf); id++) {
		type = btf__type_by_id(btf, id);
		if (!btf_is_enum(type) || type->name_off)
			continue;
		for (i = 0; i < btf_vlen(type); i++) {
			if (!strcmp(btf__name_by_offset(btf, btf_enum(type)[i].name_off), name))
				return btf_enum(type)[i].val;
		}
	}
	return -1;
}

/*
 * The consumer's side of BPF_MAP_TYPE_RINGBUF (kernel/bpf/ringbuf.c), in place of libbpf's: the
 * position is given back only once the events are written, so that a reader that dies loses none.
 */
struct ring {
	size_t size; /* of the data, a power of two */
	uint64_t *consumer;
	const uint64_t *producer;
	const uint8_t *data; /* mapped twice in a row: no record is ever split */
	size_t page;
	struct shares *shares; /* NULL where the reader does not keep them */
};

/* Add the bytes of the records from at to end to what is taken of their shares, or (-1) take off.
 */
static void add_taken(struct ring *ring, uint64_t at, uint64_t end, int sign)
{
	while (at < end) {
		const uint8_t *record = ring->data + (at & (ring->size - 1));
		uint32_t header = __atomic_load_n((const uint32_t *)record, __ATOMIC_ACQUIRE);
		uint32_t length = header & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
		const struct event *event = (const void *)(record + BPF_RINGBUF_HDR_SZ);

		if (header == length) /* whole: else its bytes are not counted as sent */
			ring->shares->taken[share_of(event->uid)] += sign * record_bytes(length);
		at += record_bytes(length);
	}
}

/*
 * Say of each share that all was taken but what waits: a reader that died may have counted what it
 * did not release. Between events, so that both are of one moment; where they come too fast for
 * that, those that came meanwhile are counted wrong, until the next reader looks.
 */
static void settle_shares(struct ring *ring)
{
	uint64_t end;
	int tries = 100;

	do {
		end = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
		for (int share = 0; share < UIDTRACED_SHARES; share++)
			ring->shares->taken[share] = *(volatile __u32 *)&ring->shares->sent[share];
	} while (end != __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE) && --tries);
	add_taken(ring, *ring->consumer, end, -1);
}

static void ring_close(struct ring *ring)
{
	if (ring->shares)
		munmap(ring->shares, sizeof(*ring->shares));
	if (ring->producer)
		munmap((void *)ring->producer, ring->page + 2 * ring->size);
	if (ring->consumer)
		munmap(ring->consumer, ring->page);
	*ring = (struct ring){};
}

static void *map_fd_at(int fd, off_t offset, size_t size, int access)
{
	void *found = mmap(NULL, size, access, MAP_SHARED, fd, offset);

	return found == MAP_FAILED ? NULL : found;
}

/* shares_fd: the map of shares, which the only reader keeps; -1 for others */
static int ring_open(struct ring *ring, int map_fd, size_t size, int shares_fd)
{
	size_t page = sysconf(_SC_PAGESIZE);

	*ring = (struct ring){.size = size, .page = page};
	ring->consumer = map_fd_at(map_fd, 0, page, PROT_READ | PROT_WRITE);
	ring->producer = map_fd_at(map_fd, page, page + 2 * size, PROT_READ);
	if (shares_fd >= 0)
		ring->shares =
			map_fd_at(shares_fd, 0, sizeof(*ring->shares), PROT_READ | PROT_WRITE);
	if (!ring->consumer || !ring->producer || (shares_fd >= 0 && !ring->shares)) {
		int err = -errno;

		ring_close(ring);
		return err;
	}
	ring->data = (const uint8_t *)ring->producer + page;
	if (ring->shares)
		settle_shares(ring);
	return 0;
}

/*
 * Copy whole events from *position on (from what was released, where it is 0) and move it behind
 * the last one: the events side by side, and what belongs to them one after the other into data,
 * where event.data_at says. Returns how many. Stops at limit where that is not 0, at a record that
 * is still being written, and when no room is left; data must have room for UIDTRACED_DATA_MAX +
 * 512.
 */
static size_t ring_copy(struct ring *ring, struct event *out, size_t room, uint8_t *data,
			size_t data_room, __u64 limit, __u64 *position)
{
	uint64_t at = *position ? *position : *ring->consumer;
	uint64_t end = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
	size_t events = 0, used = 0;

	if (limit && limit < end)
		end = limit;
	while (at < end && events < room) {
		const uint8_t *record = ring->data + (at & (ring->size - 1));
		uint32_t header = __atomic_load_n((const uint32_t *)record, __ATOMIC_ACQUIRE);
		uint32_t length = header & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
		uint32_t more = length - sizeof(struct event);

		if (header & BPF_RINGBUF_BUSY_BIT)
			break;
		if (!(header & BPF_RINGBUF_DISCARD_BIT)) {
			if (more > data_room - used)
				break;
			record += BPF_RINGBUF_HDR_SZ;
			memcpy(&out[events], record, sizeof(struct event));
			memcpy(data + used, record + sizeof(struct event), more);
			out[events++].data_at = used;
			used += more;
		}
		at += record_bytes(length);
	}
	*position = at;
	return events;
}

/* where the next event to be read begins */
static __u64 ring_position(const struct ring *ring)
{
	return *ring->consumer;
}

static void ring_release(struct ring *ring, __u64 position)
{
	if (ring->shares)
		add_taken(ring, *ring->consumer, position, 1);
	__atomic_store_n(ring->consumer, position, __ATOMIC_RELEASE);
}

/* how many records wait, whatever they hold */
static size_t ring_count(const struct ring *ring)
{
	uint64_t end = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
	size_t records = 0;

	for (uint64_t at = *ring->consumer; at < end;) {
		uint32_t header = __atomic_load_n(
			(const uint32_t *)(ring->data + (at & (ring->size - 1))), __ATOMIC_ACQUIRE);

		records += !(header & BPF_RINGBUF_DISCARD_BIT);
		at += record_bytes(header & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT));
	}
	return records;
}

/* bytes that wait, their headers included */
static __u64 ring_pending(const struct ring *ring)
{
	return __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE) - *ring->consumer;
}
