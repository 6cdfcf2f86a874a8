// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// The other end of the interoperability test, in JavaScript; see run.py. NODE_PATH leads to the package.
//   node peer.js receive SECRET           prints its port; verifies what comes, and answers 200 or 401
//   node peer.js send PORT SECRET         sends what must be taken and what must not, and fails for another answer
"use strict";
const http = require("node:http");
const { Webhook } = require("standardwebhooks");

function receive(secret) {
    const webhook = new Webhook(secret);
    const server = http.createServer((request, response) => {
        const parts = [];
        request.on("data", (part) => parts.push(part));
        request.on("end", () => {
            let status = 200;
            try {
                webhook.verify(Buffer.concat(parts), request.headers);
            } catch (error) {
                console.error(`peer.js: ${error.message}`);
                status = 401;
            }
            response.writeHead(status);
            response.end();
        });
    });
    server.listen(0, "127.0.0.1", () => console.log(server.address().port));
    process.stdin.on("end", () => process.exit(0)).resume();
}

async function send(port, secret) {
    const webhook = new Webhook(secret);
    const stranger = new Webhook("whsec_" + Buffer.alloc(32, 7).toString("base64"));
    const now = Math.floor(Date.now() / 1000);
    let failed = 0;
    const post = async (expected, id, body, change) => {
        const given = { timestamp: now, by: webhook, extra: "", sent: body, ...change };
        const signature = given.by.sign(id, new Date(given.timestamp * 1000), body) + given.extra;
        const headers = { "content-type": "application/json", "webhook-id": id, "webhook-timestamp": `${given.timestamp}`, "webhook-signature": signature };
        const response = await fetch(`http://127.0.0.1:${port}/hooks`, { method: "POST", headers, body: given.sent });
        const text = await response.text();
        if (`${response.status} ${text}`.startsWith(expected)) return;
        ++failed;
        console.error(`peer.js: expected ${expected}, got ${response.status} ${text}`);
    };
    await post("200 applied", "msg_1", '{"a":"ü €"}', {});
    await post("200 duplicate", "msg_1", '{"a":"ü €"}', {});
    await post("200 applied", "msg_2", "{}", { extra: " v1,bm9uZQ== v1a,b3RoZXI=" });
    await post("200 applied", "msg_3", "{}", { timestamp: now - 200 });
    await post("401", "msg_4", "{}", { timestamp: now - 400 });
    await post("401", "msg_5", "{}", { timestamp: now + 400 });
    await post("401", "msg_6", "{}", { by: stranger });
    await post("401", "msg_7", "{}", { sent: "{ }" });
    process.exit(failed === 0 ? 0 : 1);
}

const [mode, ...rest] = process.argv.slice(2);
if (mode === "receive") receive(...rest);
else send(...rest);
