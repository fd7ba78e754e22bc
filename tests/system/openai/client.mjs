// OpenAI's client against a Sluice server: one JSON line for each thing it saw. tests/system/test_openai.py reads them.
import OpenAI, { APIError, AuthenticationError, NotFoundError, UnprocessableEntityError } from 'openai';

const [url, token] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: token, maxRetries: 0 });
const say = (name, value) => console.log(JSON.stringify({ name, ...value }));
const user = (content) => [{ role: 'user', content }];

const models = [];
for await (const m of client.models.list()) models.push(m.id);
say('models', { models });

const whole = await client.chat.completions.create({ model: 'profile:upstream', messages: user('hello') });
say('whole', { text: whole.choices[0].message.content, finish: whole.choices[0].finish_reason, usage: whole.usage, model: whole.model });

for (const [name, model] of [['profile', 'profile:upstream'], ['workflow', 'workflow:debate']]) {
	const stream = await client.chat.completions.create({
		model, messages: user('tea'), stream: true, stream_options: { include_usage: true },
	});
	let text = '', pieces = 0, finish = null, usage = null, ids = new Set();
	for await (const chunk of stream) {
		ids.add(chunk.id);
		const choice = chunk.choices[0];
		if (choice?.delta.content) (text += choice.delta.content), pieces++;
		finish = choice?.finish_reason ?? finish;
		usage = chunk.usage ?? usage;
	}
	say(`stream ${name}`, { text, pieces, finish, usage, ids: ids.size });
}

// the helper that puts the chunks together again checks their shape
const helper = client.chat.completions.stream({ model: 'profile:upstream', messages: user('hello') });
say('helper', { text: (await helper.finalChatCompletion()).choices[0].message.content });

const response = await client.responses.create({ model: 'workflow:debate', input: 'tea' });
say('response', { text: response.output_text, status: response.status, usage: response.usage });

const events = [];
let deltas = '';
for await (const e of await client.responses.create({ model: 'profile:upstream', instructions: 'be brief', input: 'hello', stream: true })) {
	events.push(e.type);
	if (e.type === 'response.output_text.delta') deltas += e.delta;
}
say('response stream', { events, deltas });

const kinds = { NotFoundError, AuthenticationError, UnprocessableEntityError };
const refused = async (name, ask) => {
	try {
		await ask();
		say(name, { kind: 'none' });
	} catch (e) {
		const kind = Object.keys(kinds).find((k) => e instanceof kinds[k]) ?? (e instanceof APIError ? 'APIError' : String(e));
		say(name, { kind, status: e.status ?? null, code: e.code ?? null, type: e.type ?? null, param: e.param ?? null, message: e.message });
	}
};
await refused('no such model', () => client.chat.completions.create({ model: 'gpt-4o', messages: user('x') }));
await refused('no such profile', () => client.chat.completions.create({ model: 'profile:nobody', messages: user('x') }));
await refused('no messages', () => client.chat.completions.create({ model: 'profile:upstream', messages: [] }));
await refused('wrong token', () => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'wrong', maxRetries: 0 }).models.list());
await refused('failing model', () => client.chat.completions.create({ model: 'profile:upstream', messages: user('please fail') }));
await refused('failing stream', async () => {
	for await (const _ of await client.chat.completions.create({ model: 'profile:upstream', messages: user('break off'), stream: true }));
});

// and a client that leaves in the middle
const left = await client.chat.completions.create({ model: 'profile:upstream', messages: user('a long story'), stream: true });
for await (const chunk of left) {
	if (chunk.choices[0]?.delta.content) break; // leaving the loop closes the connection
}
say('left', {});
