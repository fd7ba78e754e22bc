#!/usr/bin/env python3
"""tests/lib/faultproxy.py: a TCP proxy in user space that spoils what passes: faults between a client and its upstream, switched while it runs.

In a test, in the same process (its loop is a thread of its own):

    with FaultProxy('127.0.0.1', upstream_port) as proxy:
        proxy.add('limit', 'down', bytes=700, then='rst')     # and proxy.clear(), proxy.stats(), proxy.cut()
        ... connect to proxy.port ...

Or as a process with a control port: one JSON object a line in, one a line out.

    python3 tests/lib/faultproxy.py --to 127.0.0.1:7071 --listen 127.0.0.1:0 --control 127.0.0.1:0
    {"cmd": "add", "kind": "latency", "stream": "down", "ms": 200}   ->  {"ok": true, "id": 1}
    {"cmd": "remove", "id": 1} | {"cmd": "clear"} | {"cmd": "cut", "how": "rst"} | {"cmd": "stats"}

Toxics. `stream` is "up" (to the upstream) or "down" (its answers); what is added applies to open connections at once, in the order added.

    latency     ms, jitter_ms=0       each piece waits so long before it is passed on
    bandwidth   bytes_per_s           no faster than that
    slicer      size=1, pause_ms=0    pieces of `size` bytes, with a pause between them
    limit       bytes, then           so many bytes of each connection pass, counted from when the toxic was added; then:
                                        "half_close"  the receiver sees the end; the other direction goes on
                                        "close"       both sides see the end
                                        "rst"         both sides see a reset
                                        "hold"        nothing more, and the connection stays open
    black_hole                        is swallowed; the connection stays open (down: the upstream's answers; up: the requests)
    drop_reply                        the request has passed, its answer is dropped and the connection closed (down only)
    refuse                            connections are accepted and reset at once (either stream)
    pg_write    rate, statements,     in front of PostgreSQL, by its protocol: of the transactions that execute one of the prepared
                how="reply"             `statements` (without them: any), this share is struck. "reply": it is carried out, and once
                                        PostgreSQL says that it has committed, the answer is dropped and the connection reset.
                                        "request": it never arrives whole, and the connection is reset (up only). The pace of others
                                        is not changed. stats() counts them: "writes", "lost_replies", "lost_requests"
Each takes `times`: on how many connections it acts, the first ones that meet it; without it, on all.

Randomness comes from the seed alone. Standard library only.
"""
import argparse
import asyncio
import contextlib
import json
import random
import socket
import struct
import sys
import threading

KINDS = {'latency', 'bandwidth', 'slicer', 'limit', 'black_hole', 'drop_reply', 'refuse', 'pg_write'}
ENDS = {'half_close', 'close', 'rst', 'hold'}


class Toxic:
    def __init__(self, ident, kind, stream, times=None, **params):
        if kind not in KINDS or stream not in ('up', 'down'):
            raise ValueError('no such toxic: %s on %s' % (kind, stream))
        if kind == 'pg_write' and params.get('how', 'reply') not in ('reply', 'request'):
            raise ValueError('pg_write loses a reply or a request')
        if kind == 'limit' and params.get('then') not in ENDS:
            raise ValueError('limit needs then: one of %s' % ', '.join(sorted(ENDS)))
        self.ident, self.kind, self.stream, self.params = ident, kind, stream, params
        self.times, self.seen = times, set()
        self.passed = {}  # by connection, for limit

    def acts_on(self, connection):
        if connection.ident in self.seen:
            return True
        if self.times is not None and len(self.seen) >= self.times:
            return False
        self.seen.add(connection.ident)
        return True

    def get(self, name, default=0):
        return self.params.get(name, default)


class PgMessages:
    """Cuts one direction of PostgreSQL's protocol (3.0, no TLS) into messages, whatever the pieces it comes in; remembers no contents but heads."""

    def __init__(self, from_client):
        self.rest = b''
        self.starting = from_client  # the first messages have no type; a refused TLS or GSS request is answered with one byte
        self.single = 0

    def feed(self, data):
        """[(type, first 300 bytes of the body)] of the messages that are whole now."""
        out, b, at = [], self.rest + data, 0
        while True:
            if self.single and at < len(b):
                at, self.single = at + 1, self.single - 1
                continue
            head = 4 if self.starting else 5
            if len(b) - at < head:
                break
            size = struct.unpack_from('>I', b, at + head - 4)[0] + head - 4
            if len(b) - at < size:
                break
            if self.starting:
                code = struct.unpack_from('>I', b, at + 4)[0]
                self.starting = code >> 16 != 3
                out.append(('startup' if code >> 16 == 3 else 'negotiate', b''))
            else:
                out.append((chr(b[at]), b[at + 5:at + min(size, 305)]))
            at += size
        self.rest = b[at:]
        return out


class End(Exception):
    """A toxic ends this direction, or the connection."""


class Connection:
    def __init__(self, proxy, ident, reader, writer):
        self.proxy, self.ident = proxy, ident
        self.client = (reader, writer)
        self.upstream = None
        self.bytes = {'up': 0, 'down': 0}
        self.ended = {'up': asyncio.Event(), 'down': asyncio.Event()}  # whoever sends in that direction has closed
        self.pg = {'up': PgMessages(True), 'down': PgMessages(False)} if proxy.postgres else None
        self.pg_executes = set()  # prepared statements since the last Sync
        self.pg_struck = False    # the answer on its way is not to be seen

    async def serve(self):
        if any(t.kind == 'refuse' and t.acts_on(self) for t in self.proxy.toxics):
            self.reset()
            return
        try:
            self.upstream = await asyncio.open_connection(*self.proxy.to)
        except OSError:
            self.reset()
            return
        pumps = [asyncio.create_task(self.pump('up', self.client[0], self.upstream[1])),
                 asyncio.create_task(self.pump('down', self.upstream[0], self.client[1]))]
        try:
            await asyncio.gather(*pumps)
        except (OSError, End):
            pass
        finally:
            for task in pumps:
                task.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self.close()

    async def pump(self, stream, reader, writer):
        while True:
            data = await reader.read(65536)
            if not data:
                self.ended[stream].set()
                if any(t.kind == 'black_hole' for t in self.active(stream)):
                    raise End  # what was swallowed cannot be finished
                if writer.can_write_eof() and not writer.is_closing():
                    writer.write_eof()
                return
            await self.pass_on(stream, data, writer)

    async def nap(self, stream, seconds=None):
        """Waits so long, or for ever; but not longer than whoever would receive in this direction is there."""
        receiver = self.ended['up' if stream == 'down' else 'down']
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(receiver.wait(), seconds)
            raise End

    def active(self, stream):
        return [t for t in list(self.proxy.toxics) if t.stream == stream and t.acts_on(self)]

    def pg_look(self, stream, data):
        """Follows the protocol. True: this data is swallowed."""
        for kind, body in self.pg[stream].feed(data):
            if kind == 'negotiate':
                self.pg['down'].single += 1
            elif stream == 'down' and kind == 'Z' and self.pg_struck:
                self.proxy.struck['lost_replies'] += 1
                self.reset()
                raise End
            elif stream == 'up' and kind == 'B':
                self.pg_executes.add(body.split(b'\0')[1].decode())
            elif stream == 'up' and kind == 'S':
                executes, self.pg_executes = self.pg_executes, set()
                meant = [t for t in self.proxy.toxics if t.kind == 'pg_write' and executes and
                         (not t.get('statements', None) or executes & set(t.get('statements')))]
                self.proxy.struck['writes'] += bool(meant)
                for t in meant:
                    if not self.pg_struck:
                        if self.proxy.random.random() < t.get('rate', 1) and t.acts_on(self):
                            if t.get('how', 'reply') == 'request':
                                self.proxy.struck['lost_requests'] += 1
                                self.reset()
                                raise End
                            self.pg_struck = True
        return stream == 'down' and self.pg_struck

    async def pass_on(self, stream, data, writer):
        if self.pg and self.pg_look(stream, data):
            return
        pieces, pause = [data], 0
        for toxic in self.active(stream):
            if toxic.kind == 'slicer':
                size = max(1, int(toxic.get('size', 1)))
                pieces, pause = [data[i:i + size] for i in range(0, len(data), size)], toxic.get('pause_ms') / 1000
        for n, piece in enumerate(pieces):
            if n and pause:
                await self.nap(stream, pause)
            await self.pass_piece(stream, piece, writer)

    async def pass_piece(self, stream, piece, writer):
        for toxic in self.active(stream):
            if toxic.kind == 'latency':
                await self.nap(stream, (toxic.get('ms') + self.proxy.random.random() * toxic.get('jitter_ms')) / 1000)
            elif toxic.kind == 'bandwidth':
                await self.nap(stream, len(piece) / toxic.get('bytes_per_s', 1))
            elif toxic.kind == 'black_hole':
                return
            elif toxic.kind == 'drop_reply':
                self.close()
                raise End
            elif toxic.kind == 'limit':
                passed = toxic.passed.get(self.ident, 0)
                left = int(toxic.get('bytes')) - passed
                toxic.passed[self.ident] = passed + len(piece)
                if left < len(piece):
                    await self.write(stream, piece[:max(0, left)], writer)
                    await self.end(stream, toxic.get('then'), writer)
                    return
        await self.write(stream, piece, writer)

    async def write(self, stream, piece, writer):
        if piece:
            self.bytes[stream] += len(piece)
            self.proxy.passed[stream] += len(piece)
            writer.write(piece)
            await writer.drain()

    async def end(self, stream, how, writer):
        if how == 'half_close':
            writer.write_eof()
        elif how == 'close':
            self.close()
            raise End
        elif how == 'rst':
            self.reset()
            raise End
        await self.nap(stream)  # half_close, hold

    def close(self):
        for side in (self.client, self.upstream):
            if side:
                side[1].close()

    def reset(self):
        for side in (self.client, self.upstream):
            if side and not side[1].is_closing():
                sock = side[1].get_extra_info('socket')
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                side[1].transport.abort()


class Proxy:
    """All of it, on one asyncio loop."""

    def __init__(self, to, seed=1, postgres=False):
        self.to, self.postgres = to, postgres
        self.struck = {'writes': 0, 'lost_replies': 0, 'lost_requests': 0}
        self.toxics, self.connections = [], {}
        self.passed = {'up': 0, 'down': 0}
        self.accepted, self.next_toxic = 0, 1
        self.random = random.Random(seed)
        self.servers, self.tasks = [], set()

    async def start(self, listen, control=None):
        self.servers.append(await asyncio.start_server(self.on_client, *listen))
        if control:
            self.servers.append(await asyncio.start_server(self.on_control, *control))
        return [s.sockets[0].getsockname()[1] for s in self.servers]

    async def on_client(self, reader, writer):
        self.accepted += 1
        c = Connection(self, self.accepted, reader, writer)
        self.connections[c.ident] = c
        task = asyncio.current_task()
        self.tasks.add(task)
        try:
            await c.serve()
        except asyncio.CancelledError:
            c.close()  # the proxy stops
        finally:
            self.connections.pop(c.ident, None)
            self.tasks.discard(task)

    async def on_control(self, reader, writer):
        while line := await reader.readline():
            try:
                answer = self.order(json.loads(line))
            except (ValueError, KeyError, TypeError) as e:
                answer = {'ok': False, 'error': str(e)}
            writer.write(json.dumps(answer).encode() + b'\n')
            await writer.drain()
        writer.close()

    def order(self, o):
        o = dict(o)
        cmd = o.pop('cmd')
        if cmd == 'add':
            toxic = Toxic(self.next_toxic, **o)
            self.next_toxic += 1
            self.toxics.append(toxic)
            return {'ok': True, 'id': toxic.ident}
        if cmd == 'remove':
            before = len(self.toxics)
            self.toxics = [t for t in self.toxics if t.ident != o['id']]
            return {'ok': len(self.toxics) < before}
        if cmd == 'clear':
            self.toxics = []
            return {'ok': True}
        if cmd == 'cut':
            for c in list(self.connections.values()):
                c.reset() if o.get('how') == 'rst' else c.close()
            return {'ok': True}
        if cmd == 'stats':
            return {'ok': True, 'open': len(self.connections), 'accepted': self.accepted, 'up': self.passed['up'], 'down': self.passed['down'],
                    **(self.struck if self.postgres else {})}
        raise ValueError('no such command: %s' % cmd)

    async def stop(self):
        for s in self.servers:
            s.close()
        for c in list(self.connections.values()):
            c.close()
        for t in list(self.tasks):
            t.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class FaultProxy:
    """The same for a test: a thread with a loop; every method may be called from the test's own thread."""

    def __init__(self, host, port, seed=1, postgres=False):
        """postgres: what passes is PostgreSQL's protocol, so that pg_write can be added."""
        self.loop = asyncio.new_event_loop()
        self.proxy = Proxy((host, port), seed, postgres)
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.port = self._do(self.proxy.start(('127.0.0.1', 0)))[0]

    def _do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def order(self, **o):
        async def run():
            return self.proxy.order(o)
        return self._do(run())

    def add(self, kind, stream='down', **params):
        return self.order(cmd='add', kind=kind, stream=stream, **params)['id']

    def remove(self, ident):
        self.order(cmd='remove', id=ident)

    def clear(self):
        self.order(cmd='clear')

    def cut(self, how='rst'):
        self.order(cmd='cut', how=how)

    def stats(self):
        return self.order(cmd='stats')

    def close(self):
        if self.thread.is_alive():
            self._do(self.proxy.stop())
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(10)
            self.loop.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def address(text):
    host, _, port = text.rpartition(':')
    return host or '127.0.0.1', int(port)


def main():
    p = argparse.ArgumentParser(description='A TCP proxy that spoils what passes.')
    p.add_argument('--to', type=address, required=True, metavar='HOST:PORT')
    p.add_argument('--listen', type=address, default=('127.0.0.1', 0), metavar='HOST:PORT')
    p.add_argument('--control', type=address, default=('127.0.0.1', 0), metavar='HOST:PORT')
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--postgres', action='store_true', help="what passes is PostgreSQL's protocol")
    args = p.parse_args()

    async def run():
        proxy = Proxy(args.to, args.seed, args.postgres)
        port, control = await proxy.start(args.listen, args.control)
        print(json.dumps({'port': port, 'control': control}), flush=True)
        await asyncio.Event().wait()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())


if __name__ == '__main__':
    sys.exit(main())
