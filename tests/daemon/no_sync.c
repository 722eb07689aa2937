/* Preloaded into the daemon, it takes the sync of the log's file away: what a forgotten fdatasync would be. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_log(int file)
{
    static const char log[] = "/log/db";
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path);
    size_t tail = sizeof log - 1;
    return length >= (ssize_t)tail && memcmp(path + length - tail, log, tail) == 0;
}

int fdatasync(int file)
{
    return is_log(file) ? 0 : (int)syscall(SYS_fdatasync, file);
}

int fsync(int file)
{
    return is_log(file) ? 0 : (int)syscall(SYS_fsync, file);
}
