/* Remembers of each database file what a sync put on the disk: LD_PRELOAD it, set POWER_KEPT to a folder.
 *
 * After every fsync or fdatasync of a file whose name holds ".db" its whole content goes to POWER_KEPT/<name>, by rename.
 * A file that is removed is gone from there as well.
 * What is there when the process is killed is what a disk that lost its power would hold: nothing that no sync asked for.
 * With POWER_LIES set the calls succeed and nothing is kept: a disk whose syncs are turned off.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void keep(int fd) {
    const char *folder = getenv("POWER_KEPT");
    char link[64], path[4096], next[4400], last[4400], block[65536];
    if (folder == NULL || getenv("POWER_LIES") != NULL) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size <= 0) return;
    path[size] = 0;
    const char *name = strrchr(path, '/');
    if (name == NULL || strstr(name, ".db") == NULL) return;
    snprintf(last, sizeof last, "%s%s", folder, name);
    snprintf(next, sizeof next, "%s%s.%d.next", folder, name, (int)gettid());
    int out = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (out < 0) abort();
    ssize_t count;
    for (off_t at = 0; (count = pread(fd, block, sizeof block, at)) > 0; at += count)
        if (write(out, block, count) != count) abort();
    if (count < 0) abort();
    close(out);
    if (rename(next, last) != 0) abort();
}

int fsync(int fd) {
    static int (*real)(int);
    if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    int result = real(fd), kept = errno;
    if (result == 0) keep(fd);
    errno = kept;
    return result;
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int result = real(fd), kept = errno;
    if (result == 0) keep(fd);
    errno = kept;
    return result;
}

int unlink(const char *path) {
    static int (*real)(const char *);
    if (real == NULL) real = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    const char *folder = getenv("POWER_KEPT"), *name = strrchr(path, '/');
    if (folder != NULL && name != NULL && strstr(name, ".db") != NULL) {
        char kept[4400];
        snprintf(kept, sizeof kept, "%s%s", folder, name);
        real(kept);
    }
    return real(path);
}
