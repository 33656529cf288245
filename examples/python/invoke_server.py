"""Serves a Lambda handler written in Python to custom-authorizer-local, on machines without SAM or Docker.

    JWT_SECRET=... python3 examples/python/invoke_server.py examples/python/jwt_authorizer.py

It speaks the part of the Lambda Invoke API that is needed, as `sam local start-lambda` does on the same port:
POST /2015-03-31/functions/<name>/invocations. Any function name will do. For this machine only.
"""

import argparse
import importlib.util
import json
import sys
import traceback
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

MAX_EVENT_BYTES = 6_291_556


class Context:
    def __init__(self, function_name, region, account):
        self.function_name = function_name
        self.function_version = "$LATEST"
        self.invoked_function_arn = f"arn:aws:lambda:{region}:{account}:function:{function_name}"
        self.memory_limit_in_mb = "128"
        self.aws_request_id = str(uuid.uuid4())
        self.log_group_name = f"/aws/lambda/{function_name}"
        self.log_stream_name = "local"


def main():
    arguments = read_arguments()
    handler = find_handler(load(arguments.module), arguments.handler)

    class Invoke(BaseHTTPRequestHandler):
        def do_POST(self):
            function_name = read_function_name(self.path)
            if function_name is None:
                return self.answer(404, {"Type": "User", "Message": f"there is nothing at {self.path}"})
            length = int(self.headers.get("content-length") or 0)
            if length > MAX_EVENT_BYTES:
                return self.answer(413, {"Type": "User", "Message": "the event is too large"})
            context = Context(function_name, arguments.region, arguments.account)
            try:
                event = json.loads(self.rfile.read(length))
                payload = json.dumps(handler(event, context)).encode()
            except Exception as error:  # whatever the handler raises is its answer
                traceback.print_exc()
                return self.answer(200, describe(error), {"X-Amz-Function-Error": "Unhandled"})
            return self.send(200, payload, {})

        def answer(self, status, body, headers=None):
            self.send(status, json.dumps(body).encode(), headers or {})

        def send(self, status, payload, headers):
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_):
            pass

    try:
        server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Invoke)
    except OSError as error:
        sys.exit(f"Port {arguments.port} cannot be used: {error.strerror}. Give another one with --port.")
    print(f"Lambda Invoke API at http://127.0.0.1:{server.server_address[1]}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


def read_arguments():
    parser = argparse.ArgumentParser(description="A small Lambda Invoke API around one handler.")
    parser.add_argument("module", type=Path, help="the Python file with the handler")
    parser.add_argument("--handler", help="the function's name in it [default: lambda_handler or handler]")
    parser.add_argument("--port", type=int, default=3001, help="0 lets the system choose")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--account", default="123456789012")
    return parser.parse_args()


def load(path):
    if not path.is_file():
        sys.exit(f"There is no file {path}.")
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None:
        sys.exit(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def find_handler(module, name):
    for candidate in [name] if name else ["lambda_handler", "handler"]:
        handler = getattr(module, candidate, None)
        if callable(handler):
            return handler
    own = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    sys.exit(f"{module.__file__} has no {name or 'lambda_handler or handler'}; it has: {', '.join(own) or 'no function'}. Use --handler.")


def read_function_name(path):
    parts = path.split("?")[0].split("/")
    if len(parts) == 5 and parts[1:3] == ["2015-03-31", "functions"] and parts[4] == "invocations":
        return unquote(parts[3])
    return None


def describe(error):
    return {
        "errorMessage": str(error),
        "errorType": type(error).__name__,
        "stackTrace": traceback.format_tb(error.__traceback__),
    }


if __name__ == "__main__":
    main()
