"""Names of Services resolve in Python programs of pods (the node puts this folder on their PYTHONPATH).

`KAOS_HOSTS` is a hosts file with the cluster's names, `KAOS_SEARCH` the search list, as in resolv.conf. The functions
of `_socket` are wrapped, before anybody has imported `socket`, so programs that never resolve a name pay nothing. The
sitecustomize that this one hides runs afterwards. It is imported in every pod: nothing but builtins here.
"""

# ruff: noqa: PTH100, PTH113, PTH116, PTH118, PTH120, PTH123, S102
# mypy: ignore-errors

import os
import sys


def install(hosts, search):
    import _socket

    names = {}
    stamp = ()

    def table():
        nonlocal names, stamp
        try:
            stat = os.stat(hosts)
        except OSError:
            return names
        now = (stat.st_mtime_ns, stat.st_ino)
        if now != stamp:
            fresh = {}
            with open(hosts, encoding="utf-8") as file:
                for line in file:
                    address, *aliases = line.partition("#")[0].split()[:64] or [""]
                    for alias in aliases:
                        fresh.setdefault(alias, []).append(address)
            names, stamp = fresh, now
        return names

    def find(host):
        """Addresses of a cluster name; [] for one that the cluster would know and does not; None: not ours."""
        if isinstance(host, (bytes, bytearray)):
            host = bytes(host).decode("ascii", "replace")
        if not isinstance(host, str) or not host:
            return None
        name = host.lower()
        known = table()
        absolute = name.endswith(".")
        candidates = [name[:-1]] if absolute else [name + "." + suffix for suffix in search] + [name]
        for candidate in candidates:
            if candidate in known:
                return known[candidate]
        if search and name.rstrip(".").endswith("." + search[-1]):
            return []
        return None

    def unknown(host):
        raise _socket.gaierror(_socket.EAI_NONAME, "Name or service not known")

    getaddrinfo = _socket.getaddrinfo
    gethostbyname = _socket.gethostbyname
    gethostbyname_ex = _socket.gethostbyname_ex

    def cluster_getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
        addresses = find(host)
        if addresses is None:
            return getaddrinfo(host, port, family, type, proto, flags)
        found = []
        for address in addresses:
            found += getaddrinfo(address, port, family, type, proto, flags)
        return found or unknown(host)

    def cluster_gethostbyname(host):
        addresses = find(host)
        if addresses is None:
            return gethostbyname(host)
        return addresses[0] if addresses else unknown(host)

    def cluster_gethostbyname_ex(host):
        addresses = find(host)
        if addresses is None:
            return gethostbyname_ex(host)
        return (host, [], list(addresses)) if addresses else unknown(host)

    _socket.getaddrinfo = cluster_getaddrinfo
    _socket.gethostbyname = cluster_gethostbyname
    _socket.gethostbyname_ex = cluster_gethostbyname_ex
    loaded = sys.modules.get("socket")
    if loaded is not None:
        loaded.gethostbyname = cluster_gethostbyname
        loaded.gethostbyname_ex = cluster_gethostbyname_ex


def _chain():
    """Run the sitecustomize that would have been found without this folder."""
    here = os.path.dirname(os.path.abspath(__file__))
    for folder in sys.path:
        path = os.path.join(folder or ".", "sitecustomize.py")
        if os.path.abspath(os.path.dirname(path)) != here and os.path.isfile(path):
            with open(path, "rb") as file:
                source = file.read()
            names = {"__name__": "sitecustomize", "__file__": path}
            exec(compile(source, path, "exec"), names)
            return


if __name__ == "sitecustomize":  # a template loads it by another name, and installs it in each of its children
    if os.environ.get("KAOS_HOSTS"):
        install(os.environ["KAOS_HOSTS"], tuple(os.environ.get("KAOS_SEARCH", "").split()))
    _chain()
