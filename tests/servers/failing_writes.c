/* Preloaded into a process: of each thread's pwrite(2), by which SQLite and PostgreSQL write their files and logs, one
   in FAILING_WRITES fails with EIO, on average; the gaps are random and never longer than twice that, so that a
   process that writes enough is certain to see one. libfiu does the same and crashes in processes of many threads. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

static int fails(void)
{
    static __thread unsigned seed;
    static __thread long left;
    const char *one_in = getenv("FAILING_WRITES");
    if (!one_in)
        return 0;
    if (!seed)
        seed = (unsigned)getpid() * 2654435761u | 1u;
    if (!left)
        left = 1 + rand_r(&seed) % (2 * atol(one_in));
    return --left == 0;
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at)
{
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (fails()) {
        errno = EIO;
        return -1;
    }
    if (!real)
        real = (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    return real(file, data, size, at);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at)
{
    return pwrite64(file, data, size, at);
}
