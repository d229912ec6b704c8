// Drives a running simulator through Unipile's own Node SDK, which checks every answer against its
// schemas.  Usage: node sdk.mjs SDK_FOLDER URL ACCOUNT_ID SALES_ACCOUNT_ID
// Prints one JSON line: what each call answered with, as {call: object tag}.

import { createRequire } from "node:module";
import { join } from "node:path";

const [folder, url, account_id, sales_account_id] = process.argv.slice(2);
const require = createRequire(join(folder, "sdk.js"));
const { UnipileClient, UnsuccessfulRequestError } = require("unipile-node-sdk");
const client = new UnipileClient(url, "any key", {
  validateRequestPayload: true,
  validateRequestPayloadLevel: "error",
  logRequestResult: false,
  logRequestPayload: false,
});

const answers = {};

async function call(name, work) {
  try {
    const answer = await work();
    answers[name] = answer.object;
    return answer;
  } catch (error) {
    const told = error instanceof UnsuccessfulRequestError ? error.body : String(error);
    const details = error.body === undefined ? "" : JSON.stringify(error.body);
    throw new Error(`${name}: ${JSON.stringify(told)} ${details}`.slice(0, 2000));
  }
}

async function control(method, path, body) {
  const answer = await fetch(`${url}/simulator${path}`, {
    method,
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${method} ${path}: ${await answer.text()}`);
  return answer.json();
}

async function advance(seconds) {
  const { now } = await control("GET", "/clock");
  const to = new Date(new Date(now).getTime() + seconds * 1000).toISOString();
  return control("POST", "/advance", { to });
}

const { account, users, messaging, webhook, request } = client;

// people: one who is a connection, one to be invited, one to be withdrawn, one for InMail
const friend = await control("POST", "/people/lea-martin", { connected_to: [account_id], posts: 2 });
const stranger = await control("POST", "/people/noah-silva", {});
const refused = await control("POST", "/people/mia-keller", {});
const boss = await control("POST", "/people/ana-rossi", { open_profile: true });

await call("account.getAll", () => account.getAll());
await call("account.getAll, a page", () => account.getAll({ limit: 1 }));
await call("account.getOne", () => account.getOne(account_id));
await call("account.createHostedAuthLink", () =>
  account.createHostedAuthLink({
    type: "create",
    providers: ["LINKEDIN"],
    expiresOn: "2099-01-01T00:00:00.000Z",
    api_url: url,
    name: "our key",
  }),
);

await call("users.getProfile", () => users.getProfile({ account_id, identifier: "lea-martin" }));
await call("users.getProfile, a visit", () =>
  users.getProfile(
    { account_id, identifier: stranger.provider_id },
    { extra_params: { notify: "true" } },
  ),
);
const sales = await call("users.getProfile, by Sales Navigator", () =>
  users.getProfile({
    account_id: sales_account_id,
    identifier: boss.provider_id,
    linkedin_api: "sales_navigator",
  }),
);
await call("users.getOwnProfile", () => users.getOwnProfile(account_id));
await call("users.getOwnProfile, with Sales Navigator", () =>
  users.getOwnProfile(sales_account_id),
);
await call("users.getAllRelations", () => users.getAllRelations({ account_id, limit: 10 }));
await call("users.sendInvitation", () =>
  users.sendInvitation({ account_id, provider_id: stranger.provider_id, message: "Hello" }),
);
const { invitation_id } = await call("users.sendInvitation, without a note", () =>
  users.sendInvitation({ account_id, provider_id: refused.provider_id }),
);
await call("users.getAllInvitationsSent", () => users.getAllInvitationsSent({ account_id }));
await call("users.getAllInvitationsSent, a page", () =>
  users.getAllInvitationsSent({ account_id, limit: 1 }),
);
await call("users.cancelInvitationSent", () =>
  users.cancelInvitationSent({ account_id, invitation_id }),
);
const posts = await call("users.getAllPosts", () =>
  users.getAllPosts({ account_id, identifier: friend.provider_id, limit: 10 }),
);
const post_id = posts.items[0].social_id;
await call("users.sendPostReaction", () =>
  users.sendPostReaction({ account_id, post_id, reaction_type: "celebrate" }),
);
await call("users.getPost", () => users.getPost({ account_id, post_id }));
await call("users.sendPostComment", () =>
  users.sendPostComment({ account_id, post_id, text: "Well said" }),
);
await call("users.getAllPostComments", () => users.getAllPostComments({ account_id, post_id }));

const { chat_id } = await call("messaging.startNewChat", () =>
  messaging.startNewChat({ account_id, attendees_ids: [friend.provider_id], text: "Hello Léa" }),
);
await call("messaging.startNewChat, InMail", () =>
  messaging.startNewChat({
    account_id,
    attendees_ids: [boss.provider_id],
    text: "Hello",
    subject: "A question",
    options: { linkedin: { api: "classic", inmail: true } },
  }),
);
await call("messaging.startNewChat, by Sales Navigator", () =>
  messaging.startNewChat({
    account_id: sales_account_id,
    attendees_ids: [sales.provider_id],
    text: "Hello",
    subject: "A question",
    options: { linkedin: { api: "sales_navigator" } },
  }),
);
await call("messaging.sendMessage", () => messaging.sendMessage({ chat_id, text: "And again" }));
await advance(60);
await control("POST", "/people/lea-martin/reply", { text: "Sure, Tuesday?" });
await call("messaging.getAllChats", () => messaging.getAllChats({ account_id, limit: 1 }));
await call("messaging.getChat", () => messaging.getChat(chat_id));
const messages = await call("messaging.getAllMessagesFromChat", () =>
  messaging.getAllMessagesFromChat({ chat_id, limit: 2 }),
);
await call("messaging.getAllMessages", () => messaging.getAllMessages({ account_id }));
await call("messaging.getMessage", () => messaging.getMessage(messages.items[0].id));
await call("messaging.getAllAttendeesFromChat", () => messaging.getAllAttendeesFromChat(chat_id));
await call("messaging.getAllChatsFromAttendee", () =>
  messaging.getAllChatsFromAttendee({ attendee_id: friend.provider_id, account_id }),
);

const { webhook_id } = await call("webhook.create", () =>
  webhook.create({
    source: "messaging",
    request_url: "http://127.0.0.1:9/hook",
    name: "inbox",
    headers: [{ key: "Unipile-Auth", value: "secret" }],
  }),
);
await call("webhook.getAll", () => webhook.getAll());
await call("webhook.delete", () => webhook.delete(webhook_id));
await call("request.send, InMail balance", () =>
  request.send({
    path: ["linkedin", "inmail_balance"],
    method: "GET",
    parameters: { account_id },
    options: { validateRequestPayload: false },
  }),
);
await call("account.delete", () => account.delete(sales_account_id));

// a refusal reaches the SDK's user as the body it understands
try {
  await users.getProfile({ account_id: "acc_unknown", identifier: "lea-martin" });
  throw new Error("an unknown account was found");
} catch (error) {
  if (!(error instanceof UnsuccessfulRequestError)) throw error;
  answers.refusal = `${error.body.status} ${error.body.type}`;
}

console.log(JSON.stringify({ texts: messages.items.map((one) => one.text), answers }));
