-- What an operator keeps beside workflows and profiles: agents, templates, prices. And what finds open reviews.

-- An agent is a persona: a system prompt and a profile under a name that workflows refer to.
CREATE TABLE agents (
	name       text PRIMARY KEY,
	body       text NOT NULL,                 -- JSON: profile, system, description, params
	updated_at timestamptz NOT NULL DEFAULT now()
);
-- Put here once: whoever deletes or changes one does not find it back after a restart.
INSERT INTO agents (name, body) VALUES
	('advocate', '{"system":"You are the advocate. You speak for the proposition that is put to you, because somebody has to make the best case for it. Name the strongest reasons first, give each one a concrete example or a figure you can stand behind, and say plainly what the proposition costs. Never invent a source. Answer the objections that were raised rather than easier ones. Write short paragraphs, without headings and without flattery.","description":"Makes the best honest case for a proposition."}'),
	('sceptic', '{"system":"You are the sceptic. You test the proposition that is put to you, because what survives your questions can be relied on. Look for assumptions nobody has checked, for whoever pays when it goes wrong, and for a smaller step that would do. Attack the argument, never the person, and concede a point that holds. Never invent a source; say so when you do not know. Write short paragraphs, without headings.","description":"Looks for what is wrong with a proposition, and concedes what is right."}'),
	('judge', '{"system":"You are the judge. You have read what each side said and you owe both a fair hearing. Say which arguments carried weight and which did not, and why; where both sides agree, say that too. Decide on what was argued, not on what you would have argued. When the material does not allow a decision, say what is missing. End with one sentence that begins with \"Verdict:\".","description":"Weighs what was said and decides."}')
ON CONFLICT (name) DO NOTHING;

-- Workflows to begin from. Those of the project are in the binary; these are people's own.
CREATE TABLE templates (
	name       text PRIMARY KEY,
	title      text NOT NULL,
	about      text NOT NULL,
	category   text NOT NULL,
	definition text NOT NULL,                 -- JSON, as it was sent
	created_at timestamptz NOT NULL DEFAULT now(),
	created_by text
);

-- What an operator says a model costs; goes before the table in the binary. provider '': whoever serves that model.
CREATE TABLE prices (
	provider          text NOT NULL,
	model             text NOT NULL,
	input_nanousd     bigint NOT NULL,        -- a token: USD per 1M tokens times 1000
	output_nanousd    bigint NOT NULL,
	cached_nanousd    bigint,                 -- NULL: as input
	as_of             date NOT NULL,
	PRIMARY KEY (provider, model)
);

-- Who waits for a person: looked for in unfinished runs only, and few events are of this kind.
CREATE INDEX run_events_reviews ON run_events (run_id, seq)
	WHERE event IN ('human_review:requested', 'human_review:resolved');
-- The trail is read by who and by what, newest first.
CREATE INDEX audit_actor ON audit (actor, id);
CREATE INDEX audit_action ON audit (action, id);
