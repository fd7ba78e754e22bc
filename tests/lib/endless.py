"""tests/lib/endless.py: a model provider that talks for ever, and remembers when each of its connections was closed.

A process of its own, so that its clock readings are not late because the test is busy:

    python3 endless.py --tps 2      prints one line, {"port": N}; ends with its standard input

It speaks OpenAI's streaming protocol on POST (any path). What it does is said in the prompt:

    go on NAME       a word every 1/tps seconds, no two alike, until the client goes (also for GET /go/NAME, as plain text)
    fast NAME        the same, a thousand words a second
    circle NAME      the same words over and over, fast: what a run breaker is there for
    short NAME       three words and the proper end

GET /log gives { NAME: [connection, …] }, each { "began", "closed", "how", "chunks", "bytes", "first" }: times are CLOCK_MONOTONIC, so they
compare with time.monotonic() of any process of this machine; closed is null while it is open; how is "fin", "reset" or "done";
chunks and bytes count what was written of the body.
"""
import argparse
import asyncio
import json
import re
import sys
import time

LOG = {}


class Talk:
    def __init__(self, name, kind, json_stream):
        self.kind, self.json_stream = kind, json_stream
        self.n = 0
        self.entry = {'began': time.monotonic(), 'closed': None, 'how': None, 'chunks': 0, 'bytes': 0}
        LOG.setdefault(name, []).append(self.entry)

    def word(self):
        self.n += 1
        if self.kind == 'circle':
            return 'round and round it goes. '
        return 'w%x-%x ' % (self.n, self.n * 2654435761 % 4294967296)

    def piece(self):
        if not self.json_stream:
            return self.word().encode()
        return ('data: %s\n\n' % json.dumps({'id': 'x', 'object': 'chat.completion.chunk', 'model': 'endless', 'choices': [
            {'index': 0, 'delta': {'content': self.word()}, 'finish_reason': None}]})).encode()


class Connection(asyncio.Protocol):
    def __init__(self, tps):
        self.tps = tps
        self.buffer = b''
        self.talk = None
        self.timer = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        head, sep, body = self.buffer.partition(b'\r\n\r\n')
        if not sep:
            return
        m = re.search(rb'(?i)\r\ncontent-length: *(\d+)', head)
        if len(body) < (int(m.group(1)) if m else 0):
            return
        self.buffer = b''
        self.request(head.decode('latin-1'), body.decode('utf-8', 'replace'))

    def request(self, head, body):
        path = head.split(' ')[1]
        if path == '/log':
            out = json.dumps(LOG).encode()
            self.transport.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n' % len(out) + out)
            return
        is_post = head.startswith('POST')
        m = re.search(r'(go on|fast|circle|short) ([\w#/-]+)', body) if is_post else re.match(r'/(go)/([\w-]+)', path)
        if not m:
            self.transport.write(b'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n')
            return
        self.talk = Talk(m.group(2), m.group(1), is_post)
        kind = b'text/event-stream' if is_post else b'text/plain'
        self.transport.write(b'HTTP/1.1 200 OK\r\nContent-Type: %s\r\nConnection: close\r\n\r\n' % kind)
        if self.talk.kind == 'short':
            for _ in range(3):
                self.write(self.talk.piece())
            self.transport.write(b'data: {"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
            self.lost('done')
            self.transport.close()
            return
        self.speak()

    def write(self, data):
        self.transport.write(data)
        self.talk.entry['chunks'] += 1
        self.talk.entry['bytes'] += len(data)

    def speak(self):
        quick = self.talk.kind in ('fast', 'circle')
        # ten at a time, a hundred times a second: a timer for each word would be the provider's own limit
        for _ in range(10 if quick else 1):
            if self.transport.get_write_buffer_size() < 65536:  # the client may have stopped reading
                self.write(self.talk.piece())
        self.timer = asyncio.get_running_loop().call_later(0.01 if quick else 1 / self.tps, self.speak)

    def lost(self, how):
        if self.timer:
            self.timer.cancel()
        if self.talk and self.talk.entry['closed'] is None:
            self.talk.entry['closed'] = time.monotonic()
            self.talk.entry['how'] = how

    def eof_received(self):
        self.lost('fin')
        return False

    def connection_lost(self, exc):
        self.lost('reset' if exc else 'fin')


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--tps', type=float, default=2)
    tps = parser.parse_args().tps
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(tps), '127.0.0.1', 0, backlog=4096)
    print(json.dumps({'port': server.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)


if __name__ == '__main__':
    asyncio.run(main())
