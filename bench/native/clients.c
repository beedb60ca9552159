// Many WebSocket or Socket.IO clients in one thread: the load generator of bench/fanout.py and bench/live.py.
//
//     clients PORT KIND GREETING RESUMING        KIND is ws or sio
//
// Every client opens, says GREETING, or RESUMING with the last message id that it has for %s when it has one, and is
// ready with the first answer; with an empty GREETING it is ready at once. Commands come as lines, answers leave as
// lines of JSON:
//
//     grow N              connect until there are N; {"ready": N}
//     drop                reset every connection at once; {"dropped": N}
//     back GOAL EXPECTED  connect all at once; when each has message GOAL, or with GOAL 0 has joined: {"done": N,
//                         "ns": TIME, "missed": M, "doubled": D}; M counts clients that received other than EXPECTED
//                         messages since `drop`
//
// A message that the last client has received leaves {"id", "first", "median", "last"}, times by CLOCK_MONOTONIC in
// nanoseconds, so that the publisher in another process can subtract its own. A message is an object that begins with
// {"id":"…", the only argument of a Socket.IO event; ids are decimal and must grow on each connection: what does not
// grow is counted as doubled. Build: cc -O2 -o clients clients.c
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { COMMANDS = 0x7fffffff, BUFFER = 4096, RING = 256, PACE = 200, PER_ADDRESS = 5000 };
enum state { CLOSED, UPGRADING, OPENING, JOINING, ANSWERING, READY };

typedef struct {
    int fd, held;
    enum state state;
    long id, received;
    unsigned char buffer[BUFFER];
} Client;

typedef struct {
    long id, count, first, median;
} Message;

static Client *clients;
static Message ring[RING];
static int wanted, started, ready, poller, port, socketio, done;
static long goal, expected, missed, doubled;
static const char *greeting, *resuming;

static long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void fail(const char *what, const Client *c) {
    fprintf(stderr, "client %ld, state %d: %s (%s)\n", (long)(c - clients), c->state, what, strerror(errno));
    exit(1);
}

// Masked with zeroes, which the protocol allows and which costs neither side anything.
static void say(Client *c, int opcode, const char *text, size_t length) {
    unsigned char frame[1024];
    size_t head = length < 126 ? 2 : 4;
    if (length > sizeof frame - 8) fail("a greeting is too long", c);
    frame[0] = 0x80 | opcode;
    frame[1] = 0x80 | (length < 126 ? length : 126);
    frame[2] = length >> 8;
    frame[3] = length;
    memset(frame + head, 0, 4);
    memcpy(frame + head + 4, text, length);
    if (send(c->fd, frame, head + 4 + length, MSG_NOSIGNAL) < 0) fail("cannot send", c);
}

static void greet(Client *c) {
    char text[900];
    const char *place = c->id ? strstr(resuming, "%s") : NULL;
    int length = place ? snprintf(text, sizeof text, "%.*s%ld%s", (int)(place - resuming), resuming, c->id, place + 2)
                       : snprintf(text, sizeof text, "%s", greeting);
    c->state = length ? ANSWERING : READY;
    if (length)
        say(c, 1, text, length);
    else
        ready++;
}

static void connect_to(Client *c) {
    int one = 1, place = c - clients;
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + place / PER_ADDRESS)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u32 = place};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) fail("no socket", c);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(c->fd, (void *)&from, sizeof from)) fail("cannot bind", c);
    if (connect(c->fd, (void *)&to, sizeof to) && errno != EINPROGRESS) fail("cannot connect", c);
    c->held = 0, c->state = UPGRADING;
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
}

static void upgrade(Client *c) {
    char request[512];
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = c - clients};
    const char *path = socketio ? "/socket.io/?EIO=4&transport=websocket" : "/ws/events";
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                          path, port);
    if (send(c->fd, request, length, MSG_NOSIGNAL) != length) fail("cannot ask for the upgrade", c);
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
}

static void count(long id, long time) {
    Message *message = ring + id % RING;
    if (message->id != id) *message = (Message){.id = id, .first = time};
    if (++message->count == (wanted + 1) / 2) message->median = time;
    if (message->count < wanted) return;
    printf("{\"id\": %ld, \"first\": %ld, \"median\": %ld, \"last\": %ld}\n", id, message->first, message->median, time);
    fflush(stdout);
}

// Returns the digits of a message's id, or NULL when the text is an answer or something else.
static const char *id_in(const char *text, size_t length) {
    const char *found = text;
    if (socketio) {
        if (length < 3 || memcmp(text, "42[", 3)) return NULL;
        found = memchr(text, ',', length < 100 ? length : 100);
        if (!found++) return NULL;
    }
    return text + length - found > 8 && !memcmp(found, "{\"id\":\"", 7) ? found + 7 : NULL;
}

static void all_back(void) {
    printf("{\"done\": %d, \"ns\": %ld, \"missed\": %ld, \"doubled\": %ld}\n", wanted, now(), missed, doubled);
    fflush(stdout);
    goal = 0;
}

static void receive(Client *c, const char *digits) {
    long id = 0;
    for (; *digits >= '0' && *digits <= '9'; digits++) id = id * 10 + (*digits - '0');
    if (id <= c->id) {
        doubled++;
        return;
    }
    c->id = id, c->received++;
    if (!goal) {
        count(id, now());
    } else if (id == goal) {
        missed += c->received != expected;
        if (++done == wanted) all_back();
    }
}

static void on_frame(Client *c, int opcode, const unsigned char *text, size_t length) {
    if (opcode == 8) fail("the server closed", c);
    if (opcode == 9) say(c, 10, (const char *)text, length);
    if (opcode > 2) return;
    if (socketio && length == 1 && *text == '2') {
        say(c, 1, "3", 1);
    } else if (c->state == OPENING) {
        if (*text != '0') fail("no Engine.IO handshake", c);
        say(c, 1, "40", 2);
        c->state = JOINING;
    } else if (c->state == JOINING) {
        if (length < 2 || memcmp(text, "40", 2)) fail("the namespace was refused", c);
        greet(c);
    } else {
        const char *digits = id_in((const char *)text, length);
        if (digits)
            receive(c, digits);
        else if (c->state == ANSWERING)
            c->state = READY, ready++;
    }
}

// Returns the bytes of the head of a frame, 0 when they are not all there; `length` is of what follows.
static size_t head_of(const unsigned char *at, size_t there, size_t *length) {
    if (there < 2) return 0;
    *length = at[1] & 127;
    if (*length < 126) return 2;
    if (there < 4) return 0;
    *length = at[2] << 8 | at[3];
    return 4;
}

static void on_bytes(Client *c) {
    ssize_t got = recv(c->fd, c->buffer + c->held, BUFFER - c->held, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) fail("the connection ended", c);
    unsigned char *at = c->buffer, *end = c->buffer + c->held + got;
    if (c->state == UPGRADING) {
        unsigned char *body = memmem(at, end - at, "\r\n\r\n", 4);
        c->held = end - at;
        if (!body) return;
        if (memcmp(at, "HTTP/1.1 101", 12)) fail((char *)at, c);
        at = body + 4, c->state = OPENING;
        if (!socketio) greet(c);
    }
    size_t length, head;
    while ((head = head_of(at, end - at, &length))) {
        if (head + length > BUFFER) fail("a frame is too large", c);
        if ((size_t)(end - at) < head + length) break;
        on_frame(c, at[0] & 15, at + head, length);
        at += head + length;
    }
    c->held = end - at;
    memmove(c->buffer, at, c->held);
}

static void grow_clients(int to) {
    clients = realloc(clients, to * sizeof *clients);
    memset(clients + wanted, 0, (to - wanted) * sizeof *clients);
    wanted = to;
}

static void reset_all(void) {
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    for (int i = 0; i < wanted; i++) {
        setsockopt(clients[i].fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        close(clients[i].fd);
        clients[i].state = CLOSED, clients[i].received = 0;
    }
    printf("{\"dropped\": %d}\n", wanted);
    fflush(stdout);
    started = ready = 0;
}

// Returns whether a command waits.
static int poll_once(int milliseconds) {
    struct epoll_event events[512];
    int found = epoll_wait(poller, events, 512, milliseconds), commanded = 0;
    for (int i = 0; i < found; i++) {
        if (events[i].data.u32 == COMMANDS) {
            commanded = 1;
            continue;
        }
        Client *c = clients + events[i].data.u32;
        if (c->state == CLOSED) continue;
        if (events[i].events & EPOLLOUT) upgrade(c);
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_bytes(c);
    }
    return commanded;
}

static void connect_all(int pace) {
    while (ready < wanted) {
        while (started < wanted && started - ready < pace) connect_to(clients + started++);
        poll_once(100);
    }
}

static int command(void) {
    char line[128];
    int to;
    ssize_t got = read(0, line, sizeof line - 1);
    if (got <= 0) return 0;
    line[got] = 0;
    if (sscanf(line, "grow %d", &to) == 1) {
        grow_clients(to);
        connect_all(PACE);
        printf("{\"ready\": %d}\n", ready);
        fflush(stdout);
    } else if (sscanf(line, "back %ld %ld", &goal, &expected) == 2) {
        done = missed = doubled = 0;
        long awaited = goal;
        connect_all(wanted);
        if (!awaited) all_back();
    } else if (!strncmp(line, "drop", 4)) {
        reset_all();
    }
    return 1;
}

int main(int argc, char **argv) {
    struct rlimit limit;
    struct epoll_event commands = {.events = EPOLLIN, .data.u32 = COMMANDS};
    if (argc != 5) return 2;
    port = atoi(argv[1]), socketio = !strcmp(argv[2], "sio"), greeting = argv[3], resuming = argv[4];
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    poller = epoll_create1(0);
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &commands);
    while (!poll_once(-1) || command()) continue;
    return 0;
}
