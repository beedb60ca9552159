// The floor of fan-out: a WebSocket server that does nothing but write one prepared frame to every socket.
//
//     floor REDIS_PORT CHANNEL
//
// One thread, epoll, one send() a client. It says the port that it listens on, takes every connection's first request
// for an upgrade with the fixed key of clients.c, and sends what is published on CHANNEL. Build: cc -O2 -o floor
// floor.c
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MOST = 65536, LONGEST = 65000 };

static const char *UPGRADED = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
static char open_sockets[MOST], input[LONGEST + 1];
static int highest, poller;

static void watch(int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

static int listening(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(fd, (void *)&at, sizeof at) || listen(fd, 4096) || getsockname(fd, (void *)&at, &size)) exit(1);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

static int subscribed(int port, const char *channel) {
    char line[200];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), length = snprintf(line, sizeof line, "SUBSCRIBE %s\r\n", channel);
    if (connect(fd, (void *)&at, sizeof at) || send(fd, line, length, 0) != length || recv(fd, input, LONGEST, 0) <= 0)
        exit(1);
    return fd;
}

static void accept_all(int server) {
    int fd, one = 1;
    while ((fd = accept4(server, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(fd);
    }
}

// The message is the last bulk string of the reply: *3 $7 message $n channel $m text.
static void publish(const char *reply) {
    static unsigned char frame[LONGEST + 4];
    const char *bulk = reply;
    for (int i = 0; i < 3; i++) bulk = strchr(bulk + 1, '$');
    size_t length = strtoul(bulk + 1, NULL, 10), head = length < 126 ? 2 : 4;
    frame[0] = 0x81;
    frame[1] = length < 126 ? length : 126;
    if (head == 4) frame[2] = length >> 8, frame[3] = length;
    memcpy(frame + head, strchr(bulk, '\n') + 1, length);
    for (int fd = 0; fd <= highest; fd++)
        if (open_sockets[fd] && send(fd, frame, head + length, MSG_NOSIGNAL) != (ssize_t)(head + length))
            fprintf(stderr, "a client took less than a message\n");
}

static void on_client(int fd) {
    ssize_t got = recv(fd, input, LONGEST, 0);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN) return;
        open_sockets[fd] = 0;
        close(fd);
    } else if (!open_sockets[fd]) {
        send(fd, UPGRADED, strlen(UPGRADED), MSG_NOSIGNAL);
        open_sockets[fd] = 1;
        if (fd > highest) highest = fd;
    }
}

int main(int argc, char **argv) {
    struct rlimit limit;
    struct epoll_event events[512];
    if (argc != 3) return 2;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    poller = epoll_create1(0);
    int redis = subscribed(atoi(argv[1]), argv[2]), server = listening();
    watch(redis), watch(server);
    for (;;) {
        int found = epoll_wait(poller, events, 512, -1);
        for (int i = 0; i < found; i++) {
            int fd = events[i].data.fd;
            if (fd == server) {
                accept_all(server);
            } else if (fd == redis) {
                ssize_t got = recv(redis, input, LONGEST, 0);
                if (got <= 0) return 0;
                input[got] = 0;
                publish(input);
            } else {
                on_client(fd);
            }
        }
    }
}
