/* Preloaded into a daemon: OpenSSL writes the secrets of every TLS connection to $SSLKEYLOGFILE (NSS key log format).
 *
 * nginx and MariaDB have no such setting, HAProxy 2.6 none for its servers' side, PyMySQL none at all. No header is
 * included, so that the smallest compiler does, without the C library's development files.
 */
typedef struct ssl_ctx SSL_CTX;
typedef void (*callback)(const void *ssl, const char *line);

extern void *dlopen(const char *name, int flags);
extern void *dlsym(void *handle, const char *name);
extern char *getenv(const char *name);
extern int open(const char *path, int flags, ...);
extern long write(int file, const void *bytes, unsigned long count);
extern int close(int file);
extern unsigned long strlen(const char *text);
extern void *memcpy(void *to, const void *from, unsigned long count);

#define NEXT ((void *)-1L)
#define WRONLY_CREAT_APPEND_CLOEXEC (01 | 0100 | 02000 | 02000000)
#define LAZY_NOLOAD (1 | 4)
#define LONGEST 1024

/* Remembered when the first context is made: nginx empties its workers' environment. */
static char file_name[LONGEST];

/* OpenSSL's own function. Python loads OpenSSL later and for itself, so that it is not among the next ones. */
static void *next(const char *name)
{
    void *found = dlsym(NEXT, name);
    void *library = found ? 0 : dlopen("libssl.so.3", LAZY_NOLOAD);

    return library ? dlsym(library, name) : found;
}

/* One write for a line: several processes may append to the file. */
static void note(const void *ssl, const char *line)
{
    char whole[LONGEST];
    unsigned long length = strlen(line);
    int file;

    if (length + 1 >= LONGEST)
        return;
    memcpy(whole, line, length);
    whole[length] = '\n';
    file = open(file_name, WRONLY_CREAT_APPEND_CLOEXEC, 0600);
    if (file < 0)
        return;
    write(file, whole, length + 1);
    close(file);
}

static SSL_CTX *noting(SSL_CTX *context)
{
    void (*ask)(SSL_CTX *, callback) = next("SSL_CTX_set_keylog_callback");
    const char *path = getenv("SSLKEYLOGFILE");

    if (path && strlen(path) < LONGEST)
        memcpy(file_name, path, strlen(path) + 1);
    if (context && ask && file_name[0])
        ask(context, note);
    return context;
}

SSL_CTX *SSL_CTX_new(const void *method)
{
    SSL_CTX *(*real)(const void *) = next("SSL_CTX_new");

    return noting(real(method));
}

SSL_CTX *SSL_CTX_new_ex(void *library, const char *properties, const void *method)
{
    SSL_CTX *(*real)(void *, const char *, const void *) = next("SSL_CTX_new_ex");

    return noting(real(library, properties, method));
}
