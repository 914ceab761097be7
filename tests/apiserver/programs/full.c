/* A disk that is full while a file exists: LD_PRELOAD it, set FULL_ROOT to a folder and FULL_WHILE to the file.
 *
 * While FULL_WHILE exists, no write to a file below FULL_ROOT may make it longer: the call fails with ENOSPC, or with
 * EDQUOT when FULL_QUOTA is set. What is on the disk already can be read and overwritten, as on a real one.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int refused(int fd, off_t end) {
    const char *root = getenv("FULL_ROOT"), *flag = getenv("FULL_WHILE");
    char link[64], path[4096];
    struct stat found;
    if (root == NULL || flag == NULL || access(flag, F_OK) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size <= 0) return 0;
    path[size] = 0;
    if (strncmp(path, root, strlen(root)) != 0) return 0;
    if (fstat(fd, &found) != 0 || !S_ISREG(found.st_mode)) return 0;
    if (end < 0) {
        off_t at = (fcntl(fd, F_GETFL) & O_APPEND) ? found.st_size : lseek(fd, 0, SEEK_CUR);
        end = at - end;
    }
    if (end <= found.st_size) return 0;
    errno = getenv("FULL_QUOTA") != NULL ? EDQUOT : ENOSPC;
    return 1;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t count) {
    REAL(write);
    return count > 0 && refused(fd, -(off_t)count) ? -1 : real(fd, data, count);
}

ssize_t pwrite(int fd, const void *data, size_t count, off_t at) {
    REAL(pwrite);
    return refused(fd, at + (off_t)count) ? -1 : real(fd, data, count, at);
}

ssize_t pwrite64(int fd, const void *data, size_t count, off64_t at) {
    REAL(pwrite64);
    return refused(fd, at + (off_t)count) ? -1 : real(fd, data, count, at);
}

int fallocate(int fd, int mode, off_t at, off_t count) {
    REAL(fallocate);
    return refused(fd, at + count) ? -1 : real(fd, mode, at, count);
}

int posix_fallocate(int fd, off_t at, off_t count) {
    REAL(posix_fallocate);
    return refused(fd, at + count) ? errno : real(fd, at, count);
}
