#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The examples of Documentation/user/remote.rst with an object store, as the page has them: curl, and moto
as S3, over TLS, on another machine (see machines.py).

Usage: remote_store.py IMAGE      (see tool.py)
"""

import contextlib
import json
import os
import re
import subprocess

# pylint: disable=wrong-import-order
from tool import FORMAT, MIB, WORK, ctl, ctl_json, path, read, run
from tap import check, test
from machines import (ENV, all_shown_is_run, clear, example, here, listens, memory_here, on_other, put,
                      put_with_holes, two_machines, write)

LOST = 56  # of curl: TLS ended without a goodbye
SECTION = "An object store"
REGION = "eu-central-1"
STORE = "https://store.example"
UPLOAD = "s3 --upload-file /run/qemufile/vm1 https://store.example/guests/vm1"
FETCH = ("s3 --output /run/qemufile/vm1.part https://store.example/guests/vm1 && "
         "mv /run/qemufile/vm1.part /run/qemufile/vm1")
S3 = 's3() { curl --fail --aws-sigv4 aws:amz:eu-central-1:s3 --user "$KEY:$SECRET" "$@"; }'


@contextlib.contextmanager
def a_store():
    """With a certificate, a user who may all, and the bucket guests."""
    certificate, key = f"{WORK}/store.pem", f"{WORK}/store.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-subj", "/CN=store.example", "-addext", "subjectAltName=DNS:store.example",
                    "-keyout", key, "-out", certificate], stderr=subprocess.DEVNULL, check=True)
    # From the fourth call on, it wants signatures that are right.
    server = subprocess.Popen(on_other([
        "python3", os.path.join(os.path.dirname(os.path.abspath(__file__)), "s3_server.py"),
        certificate, key]), stderr=subprocess.DEVNULL,
        env={**ENV, "INITIAL_NO_AUTH_ACTION_COUNT": "3", "S3_IGNORE_SUBDOMAIN_BUCKETNAME": "true"})
    try:
        listens(443)
        make_bucket(certificate)
        yield
    finally:
        server.kill()
        server.wait()


def make_bucket(certificate):
    ENV.update(CURL_CA_BUNDLE=certificate, HOME=WORK)
    policy = json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})
    for action in ("CreateUser", f"PutUserPolicy&PolicyName=all&PolicyDocument={policy}",
                   "CreateAccessKey"):
        answer = here("curl --silent --show-error --fail --aws-sigv4 aws:amz:us-east-1:iam --user none:none"
                      f" --data 'Version=2010-05-08&UserName=guest&Action={action}' {STORE}/")
    for name, tag in (("KEY", "AccessKeyId"), ("SECRET", "SecretAccessKey")):
        ENV[name] = re.search(f"<{tag}>(.*)</{tag}>", answer)[1]
    # The meter of curl is for people.
    with open(f"{WORK}/.curlrc", "w", encoding="ascii") as file:
        file.write("silent\nshow-error\n")
    s3("s3 --request PUT --header Content-Type: --data '<CreateBucketConfiguration><LocationConstraint>"
       f"{REGION}</LocationConstraint></CreateBucketConfiguration>' {STORE}/guests")


def s3(command, **more):
    """A command that uses the page's function."""
    return here(f"{example(S3)}\n{command}", **more)


@test
def a_stream_is_an_object():
    data = put("vm1", 8 * MIB + 5)
    s3(example(UPLOAD))
    os.unlink(path("vm1"))
    s3(example(FETCH))
    check(read("vm1") == data, "other bytes")
    check(os.listdir(path("")) == ["vm1"], "the name of the part is there")
    check(int(ctl_json("stat", "vm1")["length"]) == len(data), "another length")
    clear()
    # By a pipe, and a part of it.
    s3(f"s3 {STORE}/guests/vm1 | qemufilectl put vm1")
    check(read("vm1") == data, "by a pipe: other bytes")
    text = s3(f"s3 --range 4096-8191 {STORE}/guests/vm1 | sha256sum")
    with open(path("vm1"), "rb") as file:
        file.seek(4096)
        ctl("put", "range", input=file.read(4096))
    check(here("sha256sum </run/qemufile/range") == text, "other bytes in the range")
    # An object that is not there is no stream; and the store looks at the signature.
    clear()
    s3(f"s3 --output {path('vm1')} {STORE}/guests/none 2>&1", status=22)
    check(not os.path.exists(path("vm1")), "an error page is a stream")
    text = s3(f"SECRET=other\ns3 {STORE}/guests/vm1 2>&1", status=22)
    check("403" in text, text)
    clear()


@test
def a_fetch_that_ends_early_gives_no_name_and_goes_on():
    data = put("vm1", 4 * MIB + 5)
    s3(UPLOAD)
    os.unlink(path("vm1"))
    half = "s3 --header 'X-Half: yes' "
    s3(FETCH.replace("s3 ", half) + " 2>&1", status=LOST)
    check(os.listdir(path("")) == ["vm1.part"], "another name")
    check(read("vm1.part") == data[:len(data) // 2], "not the first half")
    s3(example("s3 --continue-at - --output /run/qemufile/vm1.part https://store.example/guests/vm1"))
    check(read("vm1.part") == data, "other bytes")
    # Of a pipe, the part has the name.
    s3(f"{half} {STORE}/guests/vm1 2>/dev/null | qemufilectl put vm1", status=LOST)
    check(len(read("vm1")) < len(data), "all of it")
    clear()


@test
def an_increment_is_an_object():
    put("vm.ram", 8 * MIB)
    ctl("clone", "vm.ram", "copy")
    ctl("clone", "vm.ram", "monday")
    write("vm.ram", 3 * MIB, b"x" * 8192)
    ctl("clone", "vm.ram", "tuesday")
    # S3 takes no pipe.
    text = s3(f"qemufilectl diff monday tuesday --export - | s3 --upload-file - {STORE}/guests/pipe 2>&1",
              status=22)
    check("501" in text, text)
    s3("\n".join(map(example, (
        "qemufilectl diff monday tuesday --export /run/qemufile/tuesday.inc",
        "s3 --upload-file /run/qemufile/tuesday.inc https://store.example/guests/tuesday.inc"))))
    # To the stream as it was, on the machine that has it.
    ctl("clone", "--replace", "copy", "vm.ram")
    # A part of it changes nothing.
    apply = example("s3 https://store.example/guests/tuesday.inc | qemufilectl apply vm.ram")
    s3(apply.replace("s3 ", "s3 --range 0-5000 ") + " 2>&1", status=FORMAT)
    check(read("vm.ram") == read("copy"), "the stream has changed")
    s3(apply)
    check(read("vm.ram") == read("tuesday"), "other bytes")
    clear()


@test
def an_increment_of_an_empty_stream_leaves_out_the_holes():
    kept = put_with_holes("vm1")
    ctl("create", "empty")
    ctl("diff", "empty", "vm1", "--export", path("vm1.inc"))
    size = os.stat(path("vm1.inc")).st_size
    check(kept < size < kept + 4096, f"the increment has {size} bytes")
    data = read("vm1")
    s3(f"s3 --upload-file {path('vm1.inc')} {STORE}/guests/vm1.inc")
    clear()
    ctl("create", "vm1")
    s3(f"s3 {STORE}/guests/vm1.inc | qemufilectl apply vm1")
    check(read("vm1") == data, "other bytes")
    check(memory_here() == kept, f"it holds {memory_here()} bytes, not {kept}")
    clear()


@test
def the_page_shows_nothing_else():
    all_shown_is_run([SECTION])


if __name__ == "__main__":
    with two_machines(), a_store():
        run()
