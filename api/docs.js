// Draws /openapi.json and /asyncapi.json. Nothing is set as HTML: what a description says is text.
'use strict';

const make = (tag, text, ...classes) => {
	const e = document.createElement(tag);
	if (text !== undefined && text !== null) e.textContent = text;
	e.classList.add(...classes);
	return e;
};

const find = (doc, node) => {
	if (!node?.$ref) return [node, null];
	const at = node.$ref.slice(2).split('/');
	return [at.reduce((o, key) => o?.[key.replaceAll('~1', '/').replaceAll('~0', '~')], doc), at.at(-1)];
};

const typeOf = (s) => {
	if (!s) return 'anything';
	if (s.const !== undefined) return JSON.stringify(s.const);
	if (s.enum) return s.enum.map((v) => JSON.stringify(v)).join(' | ');
	if (s.type === 'array') return 'list';
	return [s.type ?? (s.properties ? 'object' : s.allOf ? 'object' : 'anything')].flat().join(' or ') + (s.format ? ` (${s.format})` : '');
};

// The members of a schema as nested lists; `seen` ends what refers to itself.
function schema(doc, node, seen = []) {
	const [s, name] = find(doc, node);
	const list = make('ul', undefined, 'schema');
	if (!s || (name && seen.includes(name))) return list;
	const inside = name ? [...seen, name] : seen;
	for (const part of s.allOf ?? []) list.append(...schema(doc, part, inside).children);
	if (s.type === 'array') list.append(...schema(doc, s.items, inside).children);
	for (const [key, value] of Object.entries(s.properties ?? {})) {
		const [v, named] = find(doc, value);
		const item = make('li');
		item.append(make('b', key + (s.required?.includes(key) ? '' : '?')), `: ${named ?? typeOf(v)}`);
		if (v?.description) item.append(make('span', ` ${v.description}`, 'hint'));
		if (v?.properties || v?.items || v?.allOf) item.append(schema(doc, value, inside));
		list.append(item);
	}
	return list;
}

function body(doc, title, content) {
	const box = make('div');
	for (const [mime, media] of Object.entries(content ?? {})) {
		const [s, name] = find(doc, media.schema);
		box.append(make('h3', `${title} (${mime}): ${name ?? typeOf(s)}`), schema(doc, media.schema));
	}
	return box;
}

function operation(doc, method, path, op) {
	const box = make('details');
	const head = make('summary');
	head.append(make('span', method.toUpperCase(), 'method', method), make('code', path), ` ${op.summary ?? ''}`);
	head.append(make('span', op['x-sluice-role'] ?? '', 'role'));
	box.append(head);
	box.dataset.text = `${method} ${path} ${op.summary ?? ''} ${op.description ?? ''}`.toLowerCase();
	box.addEventListener('toggle', () => {
		if (!box.open || box.dataset.drawn) return;
		box.dataset.drawn = '1';
		if (op.description) box.append(make('p', op.description));
		if (op.parameters?.length) {
			const list = make('ul');
			for (const p of op.parameters) {
				const item = make('li');
				item.append(make('code', p.name), ` in ${p.in}: ${typeOf(p.schema)}`);
				if (p.description) item.append(make('span', ` ${p.description}`, 'hint'));
				list.append(item);
			}
			box.append(make('h3', 'Parameters'), list);
		}
		if (op.requestBody) box.append(body(doc, 'Body', op.requestBody.content));
		for (const [status, answer] of Object.entries(op.responses ?? {})) {
			box.append(make('h3', `${status}: ${answer.description ?? ''}`));
			if (status !== 'default') box.append(body(doc, 'Answer', answer.content));
		}
	});
	return box;
}

function message(doc, direction, name, m) {
	const box = make('details');
	const head = make('summary');
	head.append(make('span', direction, 'method', direction), make('code', name), ` ${m.summary ?? ''}`);
	head.append(make('span', m['x-sluice-role'] ?? '', 'role'));
	box.append(head, schema(doc, m.payload));
	box.dataset.text = `${direction} ${name} ${m.summary ?? ''}`.toLowerCase();
	return box;
}

async function draw() {
	const main = document.getElementById('main');
	const [http, socket] = await Promise.all(['/openapi.json', '/asyncapi.json'].map(async (at) => (await fetch(at)).json()));
	document.getElementById('about').textContent = `${http.info.summary}, version ${http.info.version}. ${http.info.description}`;
	main.replaceChildren();
	for (const tag of http.tags) {
		const part = make('section');
		part.append(make('h2', tag.name));
		for (const [path, item] of Object.entries(http.paths))
			for (const [method, op] of Object.entries(item))
				if (op.tags?.[0] === tag.name) part.append(operation(http, method, path, op));
		main.append(part);
	}
	const part = make('section');
	part.append(make('h2', 'WebSocket'), make('p', socket.info.description));
	for (const [action, direction] of [['receive', 'send'], ['send', 'receive']])
		for (const op of Object.values(socket.operations))
			if (op.action === action)
				for (const ref of op.messages) {
					const [m, key] = find(socket, find(socket, ref)[0]);
					part.append(message(socket, direction, m.name ?? key, m));
				}
	main.append(part);
	document.getElementById('find').addEventListener('input', (e) => {
		const word = e.target.value.toLowerCase();
		for (const section of main.children) {
			let shown = 0;
			for (const box of section.querySelectorAll('details[data-text]')) {
				box.hidden = !box.dataset.text.includes(word);
				shown += !box.hidden;
			}
			section.hidden = !shown;
		}
	});
}

draw().catch((e) => {
	document.getElementById('main').replaceChildren(make('p', `The description could not be read: ${e.message}`));
});
