/* Preloaded into a process: asks a watcher before each system call that touches the files below one folder.
 *
 * Built by watched.py with `cc -shared -fPIC`. Python, SQLite, DuckDB and pyarrow all write through these functions of
 * libc. Each question is one packet: call, path, second path, separated by NUL. The answer is one packet, a number:
 * 0: go on; -1: end by SIGKILL before the call; otherwise the call fails with that errno.
 *
 * All watched calls of a process exclude each other, so between a question and the end of its call the folder is still.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define LONGEST 4096

static int watcher = -1;
static char watched[LONGEST], left_out[LONGEST];
static int also_reads;
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static void forget_watcher(void) { watcher = -1; }

/* Begin to ask: about calls below `folder`, but not below `except`; with `reads` also before files are opened to read. */
void watch_calls(int socket, const char *folder, const char *except, int reads) {
    snprintf(watched, LONGEST, "%s", folder);
    snprintf(left_out, LONGEST, "%s", except);
    also_reads = reads;
    pthread_atfork(NULL, NULL, forget_watcher);
    watcher = socket;
}

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) { fprintf(stderr, "calls.c: libc has no %s\n", name); abort(); }
    return found;
}

static int below(const char *path, const char *folder) {
    size_t length = strlen(folder);
    return length && strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

/* SQLite's index of its log is rebuilt by whoever comes next, and mostly written in memory. */
static int is_index(const char *path) {
    size_t length = strlen(path);
    return length > 4 && strcmp(path + length - 4, "-shm") == 0;
}

static int is_watched(const char *path) { return below(path, watched) && !below(path, left_out) && !is_index(path); }

static void path_of_handle(int handle, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, LONGEST - 1);
    path[length < 0 ? 0 : length] = 0;
}

static void path_at(int folder, const char *name, char *path) {
    char top[LONGEST];
    if (name[0] == '/') { snprintf(path, LONGEST, "%s", name); return; }
    if (folder == AT_FDCWD) { if (!getcwd(top, LONGEST)) top[0] = 0; } else path_of_handle(folder, top);
    if (strlen(top) + strlen(name) + 2 > LONGEST) { path[0] = 0; return; }
    strcpy(path, top);
    strcat(path, "/");
    strcat(path, name);
}

/* Return the errno to fail with, or 0. The lock is held until `done` where `*asked` is set. */
static int ask(int *asked, const char *call, const char *path, const char *other) {
    *asked = 0;
    if (watcher < 0 || !(is_watched(path) || is_watched(other))) return 0;
    pthread_mutex_lock(&one_at_a_time);
    *asked = 1;
    int before = errno;
    char packet[3 * LONGEST], answer[32];
    int length = snprintf(packet, sizeof packet, "%s%c%s%c%s", call, 0, path, 0, other);
    ssize_t got = -1;
    if (send(watcher, packet, length, MSG_NOSIGNAL) == length)
        while ((got = recv(watcher, answer, sizeof answer - 1, 0)) < 0 && errno == EINTR);
    errno = before;
    if (got <= 0) { watcher = -1; return 0; }
    answer[got] = 0;
    int verdict = atoi(answer);
    if (verdict == -1) { kill(getpid(), SIGKILL); for (;;) pause(); }
    return verdict;
}

static void done(int asked) {
    int before = errno;
    if (asked) pthread_mutex_unlock(&one_at_a_time);
    errno = before;
}

#define ASKED(result, failed, call, path, other, act) \
    int asked; \
    int fault = ask(&asked, call, path, other); \
    if (fault) { done(asked); errno = fault; return failed; } \
    result = (act); \
    done(asked); \
    return answer_

/* -- by handle */

#define BY_HANDLE(type, name, declared, handle, passed) \
    type name declared { \
        static type (*next) declared; \
        if (!next) next = real(#name); \
        char path[LONGEST] = ""; \
        if (watcher >= 0) path_of_handle(handle, path); \
        type answer_; \
        ASKED(answer_, -1, #name, path, "", next passed); \
    }

BY_HANDLE(ssize_t, write, (int handle, const void *body, size_t size), handle, (handle, body, size))
BY_HANDLE(ssize_t, pwrite, (int handle, const void *body, size_t size, off_t at), handle, (handle, body, size, at))
BY_HANDLE(ssize_t, pwrite64, (int handle, const void *body, size_t size, off64_t at), handle, (handle, body, size, at))
BY_HANDLE(ssize_t, writev, (int handle, const struct iovec *parts, int count), handle, (handle, parts, count))
BY_HANDLE(ssize_t, pwritev, (int handle, const struct iovec *parts, int count, off_t at), handle, (handle, parts, count, at))
BY_HANDLE(ssize_t, pwritev64, (int handle, const struct iovec *parts, int count, off64_t at), handle, (handle, parts, count, at))
BY_HANDLE(ssize_t, sendfile, (int handle, int from, off_t *at, size_t size), handle, (handle, from, at, size))
BY_HANDLE(ssize_t, sendfile64, (int handle, int from, off64_t *at, size_t size), handle, (handle, from, at, size))
BY_HANDLE(ssize_t, copy_file_range, (int from, off64_t *at, int handle, off64_t *to, size_t size, unsigned flags), handle, (from, at, handle, to, size, flags))
BY_HANDLE(int, fsync, (int handle), handle, (handle))
BY_HANDLE(int, fdatasync, (int handle), handle, (handle))
BY_HANDLE(int, ftruncate, (int handle, off_t size), handle, (handle, size))
BY_HANDLE(int, ftruncate64, (int handle, off64_t size), handle, (handle, size))
BY_HANDLE(int, fallocate, (int handle, int mode, off_t at, off_t size), handle, (handle, mode, at, size))
BY_HANDLE(int, fallocate64, (int handle, int mode, off64_t at, off64_t size), handle, (handle, mode, at, size))

/* -- by name */

#define BY_NAME(name, declared, folder, file, passed) \
    int name declared { \
        static int (*next) declared; \
        if (!next) next = real(#name); \
        char path[LONGEST] = ""; \
        if (watcher >= 0) path_at(folder, file, path); \
        int answer_; \
        ASKED(answer_, -1, #name, path, "", next passed); \
    }

BY_NAME(unlink, (const char *name), AT_FDCWD, name, (name))
BY_NAME(unlinkat, (int folder, const char *name, int flags), folder, name, (folder, name, flags))
BY_NAME(rmdir, (const char *name), AT_FDCWD, name, (name))
BY_NAME(mkdir, (const char *name, mode_t mode), AT_FDCWD, name, (name, mode))
BY_NAME(mkdirat, (int folder, const char *name, mode_t mode), folder, name, (folder, name, mode))
BY_NAME(truncate, (const char *name, off_t size), AT_FDCWD, name, (name, size))
BY_NAME(truncate64, (const char *name, off64_t size), AT_FDCWD, name, (name, size))
BY_NAME(symlink, (const char *to, const char *name), AT_FDCWD, name, (to, name))

#define BY_TWO_NAMES(name, declared, first_folder, first, second_folder, second, passed) \
    int name declared { \
        static int (*next) declared; \
        if (!next) next = real(#name); \
        char path[LONGEST] = "", other[LONGEST] = ""; \
        if (watcher >= 0) { path_at(first_folder, first, path); path_at(second_folder, second, other); } \
        int answer_; \
        ASKED(answer_, -1, #name, path, other, next passed); \
    }

BY_TWO_NAMES(rename, (const char *from, const char *to), AT_FDCWD, from, AT_FDCWD, to, (from, to))
BY_TWO_NAMES(renameat, (int a, const char *from, int b, const char *to), a, from, b, to, (a, from, b, to))
BY_TWO_NAMES(renameat2, (int a, const char *from, int b, const char *to, unsigned flags), a, from, b, to, (a, from, b, to, flags))
BY_TWO_NAMES(link, (const char *from, const char *to), AT_FDCWD, from, AT_FDCWD, to, (from, to))
BY_TWO_NAMES(linkat, (int a, const char *from, int b, const char *to, int flags), a, from, b, to, (a, from, b, to, flags))

/* -- opening */

static const char *kind_of_open(int flags) {
    if ((flags & O_TMPFILE) == O_TMPFILE) return "create";
    if (flags & (O_CREAT | O_TRUNC)) return "create";
    /* Opened to write, the folder does not change yet. */
    return also_reads ? "open" : NULL;
}

#define OPENED(name, folder, file, flags, act) \
    const char *kind = watcher >= 0 ? kind_of_open(flags) : NULL; \
    if (!kind) return act; \
    char path[LONGEST] = ""; \
    path_at(folder, file, path); \
    int answer_; \
    ASKED(answer_, -1, kind, path, "", act)

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE) { \
        va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); \
    }

#define OPEN(name) \
    int name(const char *file, int flags, ...) { \
        static int (*next)(const char *, int, ...); \
        if (!next) next = real(#name); \
        MODE(flags) \
        OPENED(name, AT_FDCWD, file, flags, next(file, flags, mode)); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *file, int flags, ...) { \
        static int (*next)(int, const char *, int, ...); \
        if (!next) next = real(#name); \
        MODE(flags) \
        OPENED(name, folder, file, flags, next(folder, file, flags, mode)); \
    }
OPENAT(openat)
OPENAT(openat64)

#define OPEN_2(name) \
    int name(const char *file, int flags) { \
        static int (*next)(const char *, int); \
        if (!next) next = real(#name); \
        OPENED(name, AT_FDCWD, file, flags, next(file, flags)); \
    }
OPEN_2(__open_2)
OPEN_2(__open64_2)

#define CREAT(name) \
    int name(const char *file, mode_t mode) { \
        static int (*next)(const char *, mode_t); \
        if (!next) next = real(#name); \
        OPENED(name, AT_FDCWD, file, O_CREAT | O_TRUNC, next(file, mode)); \
    }
CREAT(creat)
CREAT(creat64)

#define FOPEN(name) \
    FILE *name(const char *file, const char *how) { \
        static FILE *(*next)(const char *, const char *); \
        if (!next) next = real(#name); \
        const char *kind = watcher < 0 ? NULL : kind_of_open(how[0] == 'r' ? O_RDONLY : O_CREAT); \
        if (!kind) return next(file, how); \
        char path[LONGEST] = ""; \
        path_at(AT_FDCWD, file, path); \
        FILE *answer_; \
        ASKED(answer_, NULL, kind, path, "", next(file, how)); \
    }
FOPEN(fopen)
FOPEN(fopen64)
