"""Unipile's own Node SDK, used as a judge: it checks every answer against its strict schemas."""

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from simulated import PLAIN, RELIABLE

from clento_engine.simulator.accounts import connect_account
from clento_engine.simulator.senders import Tier
from clento_engine.simulator.server import Settings, serving

SDK = "unipile-node-sdk@1.9.3"
OLDEST_NODE = 20
INSTALL_LIMIT_S = 120
RUN_LIMIT_S = 60
SCRIPT = Path(__file__).with_name("sdk.mjs")


def test_the_official_sdk_accepts_every_answer() -> None:
    node = _node()
    folder = _installed()
    report = asyncio.run(_drive(node, folder))
    assert report["texts"] == ["Sure, Tuesday?", "And again"]
    assert report["answers"] == {
        "account.getAll": "AccountList",
        "account.getAll, a page": "AccountList",
        "account.getOne": "Account",
        "account.createHostedAuthLink": "HostedAuthUrl",
        "users.getProfile": "UserProfile",
        "users.getProfile, a visit": "UserProfile",
        "users.getProfile, by Sales Navigator": "UserProfile",
        "users.getOwnProfile": "AccountOwnerProfile",
        "users.getOwnProfile, with Sales Navigator": "AccountOwnerProfile",
        "users.getAllRelations": "UserRelationsList",
        "users.sendInvitation": "UserInvitationSent",
        "users.sendInvitation, without a note": "UserInvitationSent",
        "users.getAllInvitationsSent": "InvitationList",
        "users.getAllInvitationsSent, a page": "InvitationList",
        "users.cancelInvitationSent": "InvitationCanceled",
        "users.getAllPosts": "PostList",
        "users.sendPostReaction": "ReactionAdded",
        "users.getPost": "Post",
        "users.sendPostComment": "CommentSent",
        "users.getAllPostComments": "CommentList",
        "messaging.startNewChat": "ChatStarted",
        "messaging.startNewChat, InMail": "ChatStarted",
        "messaging.startNewChat, by Sales Navigator": "ChatStarted",
        "messaging.sendMessage": "MessageSent",
        "messaging.getAllChats": "ChatList",
        "messaging.getChat": "Chat",
        "messaging.getAllMessagesFromChat": "MessageList",
        "messaging.getAllMessages": "MessageList",
        "messaging.getMessage": "Message",
        "messaging.getAllAttendeesFromChat": "ChatAttendeeList",
        "messaging.getAllChatsFromAttendee": "ChatList",
        "webhook.create": "WebhookCreated",
        "webhook.getAll": "WebhookList",
        "webhook.delete": "WebhookDeleted",
        "request.send, InMail balance": "LinkedinInmailBalance",
        "account.delete": "AccountDeleted",
        "refusal": "404 errors/resource_not_found",
    }


async def _drive(node: str, folder: Path) -> Any:
    """Run the script against a simulator served from this process."""
    world = Settings(accounts=1, chances=PLAIN, reliability=RELIABLE).world()
    sender = next(iter(world.accounts))
    sales = connect_account(world, tier=Tier.SALES_NAVIGATOR).id
    async with serving(Settings(), world) as url:
        run = await asyncio.create_subprocess_exec(
            node,
            str(SCRIPT),
            str(folder),
            url,
            sender,
            sales,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await asyncio.wait_for(run.communicate(), RUN_LIMIT_S)
    assert run.returncode == 0, errors.decode()
    return json.loads(out.decode().splitlines()[-1])


def _node() -> str:
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        pytest.skip("the official SDK needs node and npm")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    if int(version.stdout.strip().lstrip("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"the official SDK needs node {OLDEST_NODE} or later")
    return node


def _installed() -> Path:
    """Return a folder that holds the SDK; installed once, by whoever comes first."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path(tempfile.gettempdir()))
    folder = cache / f"clento-{SDK.replace('@', '-')}-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            command = ["npm", "install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"]
            try:
                done = subprocess.run(
                    [*command, "--prefix", str(folder), SDK],
                    capture_output=True,
                    text=True,
                    timeout=INSTALL_LIMIT_S,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                pytest.skip(f"npm did not install {SDK} in time")
            if done.returncode != 0:
                pytest.skip(f"npm could not install {SDK}: {done.stderr.strip()[-300:]}")
            (folder / "installed").touch()
    return folder
