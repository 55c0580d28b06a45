"""The token ids of llama.cpp: a JSON list of texts on stdin, of ids on stdout.

.work/peers/llamacpp/bin/python benchmarks/peers/llamacpp_tokenize.py model.gguf < texts.json > ids.json
"""

import http.client
import json
import sys

import xllamacpp

CONTEXT = 256
"""Of the server, which is asked for tokens alone."""


def main() -> None:
    settings = xllamacpp.CommonParams()
    settings.model.path, settings.n_ctx, settings.warmup, settings.cpuparams.n_threads = sys.argv[1], CONTEXT, False, 1
    server = xllamacpp.Server(settings)
    asked = http.client.HTTPConnection(server.listening_address.removeprefix("http://"))
    found = []
    for text in json.load(sys.stdin):
        content = {"content": text, "add_special": True, "parse_special": True}
        asked.request("POST", "/tokenize", json.dumps(content), {"Content-Type": "application/json"})
        found.append(json.loads(asked.getresponse().read())["tokens"])
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
