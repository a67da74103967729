// origin PORT: the upstream of all benchmarks. One thread, epoll, answers GET
// with 1 KiB, 64 KiB (/64k) or 1 MiB (/1m), fresh for an hour; keep-alive and
// pipelining.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { INPUT = 16384 };

struct answer { char *bytes; size_t size; };

struct client {
	int fd, waiting;          // waiting: EPOLLOUT is asked for
	size_t used;              // bytes in input
	size_t sent;              // of the first answer
	unsigned char owed[256];  // ring of which answers are owed
	unsigned char head, tail;
	char input[INPUT];
};

static struct answer answers[4]; // of 1 KiB, 64 KiB, 1 MiB; 64 KiB of text
static int poller;

static struct answer make(size_t size, const char *type) {
	struct answer a;
	a.bytes = malloc(size + 512);
	char date[64];
	time_t now = time(0);
	strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime(&now));
	int n = sprintf(a.bytes,
		"HTTP/1.1 200 OK\r\nServer: origin\r\nDate: %s\r\n"
		"Content-Type: %s\r\nContent-Length: %zu\r\n"
		"Cache-Control: public, max-age=3600\r\nETag: \"5f3b-%zu\"\r\n"
		"Last-Modified: Tue, 01 Jul 2025 10:00:00 GMT\r\n\r\n", date, type, size, size);
	memset(a.bytes + n, 'x', size);
	a.size = n + size;
	return a;
}

// text fills an answer with lines of markup that repeat as those of pages do.
static void text(struct answer *a, size_t size) {
	static const char *words[] = {"the", "price", "of", "each", "article", "shipping", "includes", "taxes", "and", "returns", "within", "thirty", "days", "quality", "Wednesday", "catalogue"};
	char *p = a->bytes + a->size - size, *end = a->bytes + a->size, line[256];
	for (unsigned long n = 1; p < end;) {
		int used = sprintf(line, "<li class=\"item\" id=\"a%lx\"><a href=\"/articles/%lu\">", n >> 40, n >> 44);
		for (int i = 0; i < 6; i++) {
			n = n * 6364136223846793005UL + 1442695040888963407UL;
			used += sprintf(line + used, "%s ", words[n >> 60]);
		}
		used += sprintf(line + used, "</a></li>\n");
		if (used > end - p)
			used = end - p;
		memcpy(p, line, used);
		p += used;
	}
}

static void watch(struct client *c, int op, int out) {
	struct epoll_event e = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c};
	epoll_ctl(poller, op, c->fd, &e);
	c->waiting = out;
}

static int answer(struct client *c) {
	while (c->head != c->tail) {
		struct answer *a = &answers[c->owed[c->head]];
		ssize_t n = send(c->fd, a->bytes + c->sent, a->size - c->sent, MSG_NOSIGNAL);
		if (n < 0) {
			if (errno != EAGAIN)
				return -1;
			if (!c->waiting)
				watch(c, EPOLL_CTL_MOD, 1);
			return 0;
		}
		c->sent += n;
		if (c->sent == a->size) {
			c->sent = 0;
			c->head++;
		}
	}
	if (c->waiting)
		watch(c, EPOLL_CTL_MOD, 0);
	return 0;
}

static int receive(struct client *c) {
	ssize_t n = recv(c->fd, c->input + c->used, INPUT - c->used, 0);
	if (n <= 0)
		return n < 0 && errno == EAGAIN ? 0 : -1;
	c->used += n;
	char *p = c->input, *end = p + c->used, *stop;
	while ((stop = memmem(p, end - p, "\r\n\r\n", 4))) {
		c->owed[c->tail++] = memmem(p, stop - p, "/text", 5) ? 3 : memmem(p, stop - p, "/1m", 3) ? 2 : memmem(p, stop - p, "/64k", 4) ? 1 : 0;
		if (c->tail == c->head)
			return -1;
		p = stop + 4;
	}
	c->used = end - p;
	if (c->used == INPUT)
		return -1;
	memmove(c->input, p, c->used);
	return answer(c);
}

int main(int argc, char **argv) {
	if (argc != 2)
		return fputs("usage: origin PORT\n", stderr), 2;
	signal(SIGPIPE, SIG_IGN);
	static const char *bytes = "application/octet-stream";
	answers[0] = make(1 << 10, bytes);
	answers[1] = make(64 << 10, bytes);
	answers[2] = make(1 << 20, bytes);
	answers[3] = make(64 << 10, "text/html");
	text(&answers[3], 64 << 10);
	int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096))
		return perror("listen"), 1;
	poller = epoll_create1(0);
	struct epoll_event e = {.events = EPOLLIN}, events[256];
	epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
	for (;;) {
		int n = epoll_wait(poller, events, 256, -1);
		for (int i = 0; i < n; i++) {
			struct client *c = events[i].data.ptr;
			if (!c) {
				int fd;
				while ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
					setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
					c = calloc(1, sizeof *c);
					c->fd = fd;
					watch(c, EPOLL_CTL_ADD, 0);
				}
				continue;
			}
			int bad = events[i].events & EPOLLOUT ? answer(c) : 0;
			if (!bad && events[i].events & ~EPOLLOUT)
				bad = receive(c);
			if (bad) {
				close(c->fd);
				free(c);
			}
		}
	}
}
