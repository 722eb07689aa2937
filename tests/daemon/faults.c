/* Preloaded into the daemon, it makes one operation on files fail, or freezes the process there, so that the power can be cut at
 * exactly that point. One rule, of four words, in FAULTS:
 *
 *     <operation> <pattern> <n> <action>
 *
 * operation   read, write, sync, create, mkdir, rename, link, unlink (also rmdir); of rename and link the new path counts
 * pattern     as of fnmatch(3), of the thread's name, a colon, and the path
 * n           the first operation that matches and is meant, from 1
 * action      EIO, ENOSPC, EROFS    from the n-th on;  once-EIO, ...   only the n-th
 *             stop-before, stop-after     the n-th: the whole process gets SIGSTOP before or after the call
 *
 * FAULTS_SWITCH, if set: the rule holds, and counts, only while this file exists. FAULTS_MARKER gets the path of each hit. */
#define _GNU_SOURCE
#undef _FORTIFY_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

static char operation[16], pattern[512], action[16];
static long nth;
static const char *switch_file, *marker;
static atomic_long count;
static atomic_int is_set;

__attribute__((constructor)) static void parse(void)
{
    const char *rule = getenv("FAULTS");
    switch_file = getenv("FAULTS_SWITCH");
    marker = getenv("FAULTS_MARKER");
    if (rule && sscanf(rule, "%15s %511s %ld %15s", operation, pattern, &nth, action) == 4)
        is_set = 1;
}

static void mark(const char *path)
{
    if (!marker)
        return;
    long file = syscall(SYS_openat, AT_FDCWD, marker, O_WRONLY | O_CREAT | O_APPEND, 0600);
    char line[PATH_BYTES + 1];
    int length = snprintf(line, sizeof line, "%s\n", path);
    syscall(SYS_write, file, line, (size_t)length);
    syscall(SYS_close, file);
}

static int error_of(const char *name)
{
    if (strncmp(name, "once-", 5) == 0)
        name += 5;
    return strcmp(name, "EIO") == 0 ? EIO : strcmp(name, "ENOSPC") == 0 ? ENOSPC : strcmp(name, "EROFS") == 0 ? EROFS : 0;
}

/* To this thread, so that it goes no further; all others stop with it. */
static void stop(const char *path)
{
    mark(path);
    syscall(SYS_tgkill, syscall(SYS_getpid), syscall(SYS_gettid), SIGSTOP);
}

/* Whether the call is to fail, with errno set. `stop_after` says whether to stop after it. */
static int meets(const char *path, int *stop_after)
{
    char thread[16] = "", whole[PATH_BYTES + 32];
    prctl(PR_GET_NAME, thread);
    snprintf(whole, sizeof whole, "%s:%s", thread, path);
    *stop_after = 0;
    if (fnmatch(pattern, whole, 0) != 0)
        return 0;
    if (switch_file && syscall(SYS_faccessat, AT_FDCWD, switch_file, F_OK) != 0)
        return 0;
    long number = ++count, is_first = number == nth;
    if (number < nth || (!is_first && (strncmp(action, "once-", 5) == 0 || strncmp(action, "stop", 4) == 0)))
        return 0;
    if (strcmp(action, "stop-before") == 0) {
        stop(path);
        return 0;
    }
    if (strcmp(action, "stop-after") == 0) {
        *stop_after = 1;
        return 0;
    }
    mark(path);
    errno = error_of(action);
    return 1;
}

static int is_meant(const char *made)
{
    return is_set && strcmp(operation, made) == 0;
}

static int path_of(int file, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, (size_t)PATH_BYTES - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return 1;
}

static int path_at(int directory, const char *name, char *path)
{
    char above[PATH_BYTES];
    if (name[0] == '/' || directory == AT_FDCWD)
        return snprintf(path, PATH_BYTES, "%s", name) < PATH_BYTES;
    return path_of(directory, above) && snprintf(path, PATH_BYTES, "%s/%s", above, name) < PATH_BYTES;
}

/* Errno as the call left it. */
static void stop_at(const char *path)
{
    int before = errno;
    stop(path);
    errno = before;
}

#define AROUND(made, find, call)                                                                                              \
    do {                                                                                                                      \
        char path[PATH_BYTES];                                                                                                \
        int stop_after, before = errno;                                                                                       \
        if (!is_meant(made) || !(find))                                                                                       \
            return call;                                                                                                      \
        if (meets(path, &stop_after))                                                                                   \
            return -1;                                                                                                        \
        errno = before;                                                                                                       \
        long result = call;                                                                                                   \
        if (stop_after)                                                                                                       \
            stop_at(path);                                                                                                    \
        return result;                                                                                                        \
    } while (0)

ssize_t read(int file, void *bytes, size_t length)
{
    AROUND("read", path_of(file, path), syscall(SYS_read, file, bytes, length));
}

ssize_t pread64(int file, void *bytes, size_t length, off64_t offset)
{
    AROUND("read", path_of(file, path), syscall(SYS_pread64, file, bytes, length, offset));
}

ssize_t write(int file, const void *bytes, size_t length)
{
    AROUND("write", path_of(file, path), syscall(SYS_write, file, bytes, length));
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset)
{
    AROUND("write", path_of(file, path), syscall(SYS_pwrite64, file, bytes, length, offset));
}

int fsync(int file)
{
    AROUND("sync", path_of(file, path), (int)syscall(SYS_fsync, file));
}

int fdatasync(int file)
{
    AROUND("sync", path_of(file, path), (int)syscall(SYS_fdatasync, file));
}

int rename(const char *old, const char *new)
{
    AROUND("rename", path_at(AT_FDCWD, new, path), (int)syscall(SYS_renameat, AT_FDCWD, old, AT_FDCWD, new));
}

int linkat(int old_at, const char *old, int new_at, const char *new, int flags)
{
    AROUND("link", path_at(new_at, new, path), (int)syscall(SYS_linkat, old_at, old, new_at, new, flags));
}

int unlink(const char *name)
{
    AROUND("unlink", path_at(AT_FDCWD, name, path), (int)syscall(SYS_unlinkat, AT_FDCWD, name, 0));
}

int rmdir(const char *name)
{
    AROUND("unlink", path_at(AT_FDCWD, name, path), (int)syscall(SYS_unlinkat, AT_FDCWD, name, AT_REMOVEDIR));
}

int unlinkat(int directory, const char *name, int flags)
{
    AROUND("unlink", path_at(directory, name, path), (int)syscall(SYS_unlinkat, directory, name, flags));
}

int mkdir(const char *name, mode_t mode)
{
    AROUND("mkdir", path_at(AT_FDCWD, name, path), (int)syscall(SYS_mkdirat, AT_FDCWD, name, mode));
}

int open64(const char *name, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    AROUND("create", (flags & O_CREAT) && path_at(AT_FDCWD, name, path),
           (int)syscall(SYS_openat, AT_FDCWD, name, flags, mode));
}
