/* Preloaded into the daemon, it takes the sync of the journals' files away: what a forgotten fdatasync would be. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_log(int file)
{
    static const char db[] = "/db";
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    size_t tail = sizeof db - 1;
    if (length < (ssize_t)tail)
        return 0;
    path[length] = 0;
    return strstr(path, "/log/journal-") && memcmp(path + length - tail, db, tail) == 0;
}

int fdatasync(int file)
{
    return is_log(file) ? 0 : (int)syscall(SYS_fdatasync, file);
}

int fsync(int file)
{
    return is_log(file) ? 0 : (int)syscall(SYS_fsync, file);
}
