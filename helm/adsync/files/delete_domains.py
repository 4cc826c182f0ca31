"""Deletes ADDomains and waits until they are gone: python delete_domains.py SECONDS NAMESPACE/NAME…

Run by the chart's pre-delete hook, with nothing but the standard library and the pod's own service account.
"""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path(os.environ.get("SERVICE_ACCOUNT_DIRECTORY", "/var/run/secrets/kubernetes.io/serviceaccount"))


def ask(method: str, path: str) -> tuple[int, dict]:
    """The HTTP status and the JSON of a request to the API server."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    headers = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text().strip()}", "Accept": "application/json"}
    request = urllib.request.Request(f"https://{host}:{port}{path}", method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=15, context=ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, {"message": error.read().decode(errors="replace")[:300]}
    except OSError as error:
        return 0, {"message": str(error)}


def main(seconds: float, names: list[str]) -> int:
    paths = {name: "/apis/adsync.dev/v1alpha1/namespaces/{}/addomains/{}".format(*name.split("/")) for name in names}
    deadline = time.monotonic() + seconds
    asked: set[str] = set()
    while True:
        for name, path in list(paths.items()):
            status, answer = ask("GET" if name in asked else "DELETE", path)
            if status == 404:
                print(f"ADDomain {name} is gone.", flush=True)
                del paths[name]
            elif status in (200, 202):
                asked.add(name)
            else:
                print(f"ADDomain {name}: {status} {answer.get('message', '')}", flush=True)
        if not paths:
            return 0
        if time.monotonic() > deadline:
            left = ", ".join(paths)
            print(f"Not gone after {seconds:.0f} s: {left}. Look at their conditions, then uninstall again; or take their finalizers off, "
                  "which leaves the directory as it is.", flush=True)  # fmt: skip
            return 1
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
