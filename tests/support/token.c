/* A PKCS#11 module that passes everything on to a SoftHSM of its own, counts some calls, and misbehaves where a file says so.
 * HERE is a directory: the SoftHSM in it (softhsm.so) has its configuration in it (softhsm2.conf). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

typedef unsigned long ulong;
typedef ulong (*call)();
typedef struct { ulong type; void *value; ulong length; } attribute;
typedef struct { unsigned char version[2]; call entry[68]; } list;

enum { INITIALIZE = 0, OPEN_SESSION = 12, CLOSE_ALL_SESSIONS = 14, LOGIN = 18, DESTROY_OBJECT = 22, FIND_OBJECTS_INIT = 26, ENCRYPT_INIT = 29, DECRYPT = 34, SIGN_INIT = 42, GENERATE_KEY_PAIR = 59 };

static list own;
static list *real;

static int told(const char *file) { return access(file, F_OK) == 0; }

static void count(const char *letter) {
  int log = open(HERE "/calls", O_WRONLY | O_APPEND | O_CREAT, 0600);
  if (log >= 0 && write(log, letter, 1) < 0) abort();
  close(log);
}

static void hang(void) {
  if (!told(HERE "/hang")) return;
  count("h");
  while (told(HERE "/hang")) usleep(2000);
}

static ulong initialize(void *arguments) {
  count("I");
  if (told(HERE "/broken")) return 5; /* CKR_GENERAL_ERROR */
  /* The environment is one for all modules of the process, and SoftHSM reads it in here. */
  int turn = open(HERE "/../softhsm.lock", O_RDWR | O_CREAT, 0600);
  if (turn < 0 || flock(turn, LOCK_EX) != 0) abort();
  setenv("SOFTHSM2_CONF", HERE "/softhsm2.conf", 1);
  ulong value = real->entry[INITIALIZE](arguments);
  close(turn);
  return value;
}

static ulong open_session(ulong slot, ulong flags, void *application, void *notify, ulong *session) {
  count("O");
  if (unlink(HERE "/forget") == 0) real->entry[CLOSE_ALL_SESSIONS](slot);
  return real->entry[OPEN_SESSION](slot, flags, application, notify, session);
}

static ulong login(ulong session, ulong user, void *pin, ulong length) {
  count("L");
  return real->entry[LOGIN](session, user, pin, length);
}

static ulong destroy_object(ulong session, ulong object) {
  ulong value = real->entry[DESTROY_OBJECT](session, object);
  count("D");
  return value;
}

static ulong find_objects_init(ulong session, void *template, ulong size) {
  count("F");
  hang();
  return real->entry[FIND_OBJECTS_INIT](session, template, size);
}

static ulong encrypt_init(ulong session, void *mechanism, ulong key) {
  count("W");
  return real->entry[ENCRYPT_INIT](session, mechanism, key);
}

static ulong decrypt(ulong session, void *sealed, ulong length, void *opened, ulong *room) {
  if (told(HERE "/failing")) {
    unsigned char ended[1024];
    ulong size = sizeof ended;
    real->entry[DECRYPT](session, sealed, length, ended, &size); /* a failure ends the operation */
    return 0x30; /* CKR_DEVICE_ERROR */
  }
  return real->entry[DECRYPT](session, sealed, length, opened, room);
}

static ulong sign_init(ulong session, void *mechanism, ulong key) {
  count("S");
  hang();
  return real->entry[SIGN_INIT](session, mechanism, key);
}

static ulong generate_key_pair(ulong session, void *mechanism, void *public, ulong publics, attribute *private, ulong privates,
                               ulong *public_handle, ulong *private_handle) {
  count("G");
  if (told(HERE "/export"))
    for (ulong i = 0; i < privates; i++)
      if (private[i].type == 0x162) *(unsigned char *)private[i].value = 1; /* CKA_EXTRACTABLE */
  return real->entry[GENERATE_KEY_PAIR](session, mechanism, public, publics, private, privates, public_handle, private_handle);
}

ulong C_GetFunctionList(list **out) {
  if (!real) {
    void *library = dlopen(HERE "/softhsm.so", RTLD_NOW | RTLD_LOCAL);
    call get = library ? (call)dlsym(library, "C_GetFunctionList") : 0;
    if (!get || get(&real) != 0) return 5;
    memcpy(&own, real, sizeof own);
    own.entry[INITIALIZE] = initialize;
    own.entry[OPEN_SESSION] = open_session;
    own.entry[LOGIN] = login;
    own.entry[DESTROY_OBJECT] = destroy_object;
    own.entry[FIND_OBJECTS_INIT] = find_objects_init;
    own.entry[ENCRYPT_INIT] = encrypt_init;
    own.entry[DECRYPT] = decrypt;
    own.entry[SIGN_INIT] = sign_init;
    own.entry[GENERATE_KEY_PAIR] = generate_key_pair;
  }
  *out = &own;
  return 0;
}
