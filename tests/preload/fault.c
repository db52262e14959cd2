/* A fault at one chosen system call of an unmodified program, by LD_PRELOAD.
 *
 * FAULT       "OPERATIONS PATTERN FIRST COUNT ACTION", such as "write,sync cadfd.db 3 1 kill-before": what happens
 *             from the FIRST call on that is one of the OPERATIONS (write, sync, truncate, unlink, rename, which
 *             is looked at by the new name) on a file whose
 *             path matches the PATTERN (fnmatch with extended patterns; a TCP socket's path is tcp:PORT of its peer),
 *             for COUNT calls. Of writes to one file without a sync between them, only the first 40 count: more than
 *             a small batch needs, and a store that is tried with a megabyte is not worth hundreds of runs.
 * FAULT_FROM  a file: calls count from when it exists. Without it, from the start.
 * FAULT_NOTE  a file that is written when it happens: "OPERATION PATH".
 * FAULT_CONTROL  a file of three 64-bit integers, shared for as long as the program runs: by how many seconds its
 *             clock is wrong (read), the calls that FAULT could have chosen so far (counted there), and the
 *             microseconds that each sync takes longer (read).
 *
 * ACTION is a verb with when (before, half, after): half of a write's bytes, then the verb.
 *   kill-*    SIGKILL to the whole process
 *   hold-*    the calling thread stays there for ever
 *   eio, enospc    the call fails and does nothing
 *   torn      the first call writes half of its bytes and says so, those after it fail with ENOSPC
 *
 * The real calls are made by syscall(2), so nothing has to be looked up, and nothing here recurses. The wrong clock is
 * the one on the wall only: the time since the start stays right, as it does when an administrator sets the clock.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum when { NEVER, BEFORE, HALF, AFTER };

static char operations[64], pattern[1024], action[32];
static long first = 0, count = 0;
static const char *note, *from;

struct control {
    _Atomic int64_t clock_offset, calls, sync_delay;
};
static struct control own_control, *control = &own_control;

enum { BURST = 40 };
static char burst_path[1024];
static long burst = 0;
static pthread_mutex_t burst_lock = PTHREAD_MUTEX_INITIALIZER;

static void refuse(const char *mistake) {
    syscall(SYS_write, 2, mistake, strlen(mistake));
    syscall(SYS_exit_group, 99);
}

__attribute__((constructor)) static void read_settings(void) {
    const char *fault = getenv("FAULT"), *shared = getenv("FAULT_CONTROL");
    note = getenv("FAULT_NOTE");
    from = getenv("FAULT_FROM");
    if (fault && sscanf(fault, "%63s %1023s %ld %ld %31s", operations, pattern, &first, &count, action) != 5)
        refuse("FAULT cannot be read\n");
    if (!shared) return;
    int fd = syscall(SYS_openat, AT_FDCWD, shared, O_RDWR | O_CLOEXEC);
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) refuse("FAULT_CONTROL cannot be shared\n");
    syscall(SYS_close, fd);
    control = page;
}

static void path_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlink, link, path, size - 1);
    path[length > 0 ? length : 0] = 0;
    if (strncmp(path, "socket:", 7) == 0) {
        struct sockaddr_in peer;
        socklen_t peer_length = sizeof peer;
        if (getpeername(fd, (struct sockaddr *)&peer, &peer_length) == 0 && peer.sin_family == AF_INET)
            snprintf(path, size, "tcp:%d", ntohs(peer.sin_port));
    }
}

static int is_in_long_burst(const char *operation, const char *path) {
    pthread_mutex_lock(&burst_lock);
    if (strcmp(operation, "write") == 0 && strcmp(path, burst_path) == 0) {
        burst++;
    } else {
        burst = 1;
        snprintf(burst_path, sizeof burst_path, "%s", strcmp(operation, "write") == 0 ? path : "");
    }
    int is_long = burst > BURST;
    pthread_mutex_unlock(&burst_lock);
    return is_long;
}

/* The how-manieth of the chosen calls this is, from 1; 0 where it is none of them. */
static long chosen(const char *operation, const char *path) {
    if (count == 0 || fnmatch(pattern, path, FNM_EXTMATCH) != 0) return 0;
    if (from && syscall(SYS_access, from, F_OK) != 0) return 0;
    if (is_in_long_burst(operation, path) || !strstr(operations, operation)) return 0;
    long nth = atomic_fetch_add(&control->calls, 1) + 1;
    if (nth < first || nth >= first + count) return 0;
    if (note) {
        char line[1200];
        int length = snprintf(line, sizeof line, "%s %s\n", operation, path);
        int fd = syscall(SYS_openat, AT_FDCWD, note, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        syscall(SYS_write, fd, line, length);
        syscall(SYS_close, fd);
    }
    return nth - first + 1;
}

static enum when when(void) {
    const char *dash = strchr(action, '-');
    if (!dash) return NEVER;
    return strcmp(dash, "-before") == 0 ? BEFORE : strcmp(dash, "-half") == 0 ? HALF : AFTER;
}

static void strike(void) {
    if (strncmp(action, "kill", 4) == 0) syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

/* 1 where the call must fail with errno as set. */
static int fails(long nth) {
    if (strcmp(action, "eio") == 0) errno = EIO;
    else if (strcmp(action, "enospc") == 0 || (strcmp(action, "torn") == 0 && nth > 1)) errno = ENOSPC;
    else return 0;
    return 1;
}

/* One byte less where there are many: half of two lines of one length is not torn. */
static size_t half(size_t size, long nth) {
    return nth && size > 1 && (when() == HALF || strcmp(action, "torn") == 0) ? size / 2 - (size > 8) : size;
}

/* CALL is the real call, with `size` as its length where it has one. */
#define STRUCK(OPERATION, PATH, CALL)                                                                                  \
    long nth = chosen(OPERATION, PATH);                                                                                \
    if (nth && when() == BEFORE) strike();                                                                             \
    if (nth && fails(nth)) return -1;                                                                                  \
    size = half(size, nth);                                                                                            \
    long result = CALL;                                                                                                \
    if (nth && when() != NEVER) strike();                                                                              \
    return result

#define STRUCK_FD(OPERATION, CALL)                                                                                     \
    if (count == 0) return CALL;                                                                                       \
    char path[1024];                                                                                                   \
    path_of(fd, path, sizeof path);                                                                                    \
    STRUCK(OPERATION, path, CALL)

ssize_t write(int fd, const void *data, size_t size) { STRUCK_FD("write", syscall(SYS_write, fd, data, size)); }

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    STRUCK_FD("write", syscall(SYS_pwrite64, fd, data, size, at));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }

ssize_t send(int fd, const void *data, size_t size, int flags) {
    STRUCK_FD("write", syscall(SYS_sendto, fd, data, size, flags, NULL, 0));
}

/* Half of it is the first half of its parts, or of its first part. */
static long write_parts(int fd, const struct iovec *parts, int parts_count, size_t halved) {
    if (!halved) return syscall(SYS_writev, fd, parts, parts_count);
    if (parts_count > 1) return syscall(SYS_writev, fd, parts, parts_count / 2);
    return syscall(SYS_write, fd, parts->iov_base, parts->iov_len / 2);
}

ssize_t writev(int fd, const struct iovec *parts, int parts_count) {
    size_t size = 2;
    STRUCK_FD("write", write_parts(fd, parts, parts_count, size == 1));
}

static void delay_sync(void) {
    int64_t delay = atomic_load(&control->sync_delay);
    struct timespec pause = {delay / 1000000, delay % 1000000 * 1000};
    if (delay > 0) syscall(SYS_nanosleep, &pause, NULL);
}

int fsync(int fd) {
    size_t size = 0;
    delay_sync();
    STRUCK_FD("sync", syscall(SYS_fsync, fd));
}

int fdatasync(int fd) {
    size_t size = 0;
    delay_sync();
    STRUCK_FD("sync", syscall(SYS_fdatasync, fd));
}

int ftruncate64(int fd, off64_t length) {
    size_t size = 0;
    STRUCK_FD("truncate", syscall(SYS_ftruncate, fd, length));
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int unlink(const char *path) {
    size_t size = 0;
    STRUCK("unlink", path, syscall(SYS_unlinkat, AT_FDCWD, path, 0));
}

int rename(const char *old, const char *path) {
    size_t size = 0;
    STRUCK("rename", path, syscall(SYS_renameat2, AT_FDCWD, old, AT_FDCWD, path, 0));
}

static int64_t wrong_by(clockid_t clock) {
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE ? atomic_load(&control->clock_offset) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (result == 0) now->tv_sec += wrong_by(clock);
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    int result = syscall(SYS_gettimeofday, now, zone);
    if (result == 0) now->tv_sec += wrong_by(CLOCK_REALTIME);
    return result;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now) *now = precise.tv_sec;
    return precise.tv_sec;
}
