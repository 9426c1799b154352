"""A gRPC library with nothing around it: servers that answer with their name, and a client.

serve NAME=ADDRESS...          answer every call with the name
serve-xds NAME=ADDRESS         the same, with what the control plane says of who may call
call TARGET [secure]           for each line of standard input, a JSON object
                               {"count": N, "metadata": {...}, "method": "/a.B/C", "seconds": S},
                               make N calls and write how often each name or status came
"""

import json
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc.experimental


class Handler(grpc.GenericRpcHandler):
    def __init__(self, name):
        self.name = name

    def service(self, details):
        answer = lambda request, context: self.name.encode()
        return grpc.unary_unary_rpc_method_handler(answer)


def serve(pairs, xds):
    servers = []
    for pair in pairs:
        name, address = pair.split("=")
        pool = ThreadPoolExecutor(4)
        if xds:
            server = grpc.server(pool, handlers=[Handler(name)], xds=True)
            plain = grpc.insecure_server_credentials()
            server.add_secure_port(address, grpc.xds_server_credentials(plain))
        else:
            server = grpc.server(pool, handlers=[Handler(name)])
            server.add_insecure_port(address)
        server.start()
        servers.append(server)
    print("ready", flush=True)
    sys.stdin.read()


def call(target, secure):
    if secure:
        plain = grpc.experimental.insecure_channel_credentials()
        channel = grpc.secure_channel(target, grpc.xds_channel_credentials(plain))
    else:
        channel = grpc.insecure_channel(target)
    print("ready", flush=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        method = channel.unary_unary(wanted.get("method", "/shop.Catalog/Get"))
        metadata = list(wanted.get("metadata", {}).items())
        seen, detail = Counter(), ""
        for _ in range(wanted["count"]):
            try:
                seen[method(b"", timeout=wanted.get("seconds", 5), metadata=metadata).decode()] += 1
            except grpc.RpcError as error:
                seen[error.code().name] += 1
                detail = error.details()
        print(json.dumps({"seen": seen, "detail": detail}), flush=True)


if __name__ == "__main__":
    command, arguments = sys.argv[1], sys.argv[2:]
    if command == "call":
        call(arguments[0], "secure" in arguments[1:])
    else:
        serve(arguments, command == "serve-xds")
