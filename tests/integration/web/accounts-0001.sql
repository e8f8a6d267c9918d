BEGIN TRANSACTION;
CREATE TABLE accounts (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name VARCHAR(255) NOT NULL, 
	name_key VARCHAR(255) NOT NULL, 
	password_hash VARCHAR(255) NOT NULL, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT uq_accounts_name_key UNIQUE (name_key)
);
INSERT INTO "accounts" VALUES(1,'Anna','anna','hash',1800000000.0);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE models (
	id VARCHAR(32) NOT NULL, 
	account_id INTEGER NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	created_at DOUBLE NOT NULL, 
	width INTEGER NOT NULL, 
	height INTEGER NOT NULL, 
	label_bytes INTEGER NOT NULL, 
	people_count INTEGER NOT NULL, 
	people JSON NOT NULL, 
	stages_ms JSON NOT NULL, 
	CONSTRAINT pk_models PRIMARY KEY (id), 
	CONSTRAINT fk_models_account_id FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE
);
INSERT INTO "models" VALUES('00000000000000000000000000000000',1,'a.jpg',1800000000.0,640,480,51,1,'[{"joints_3d": [[1.0, null]]}]','{"queue": 1.5}');
CREATE TABLE sessions (
	token_hash BLOB NOT NULL, 
	account_id INTEGER NOT NULL, 
	created_at DOUBLE NOT NULL, 
	used_at DOUBLE NOT NULL, 
	CONSTRAINT pk_sessions PRIMARY KEY (token_hash), 
	CONSTRAINT fk_sessions_account_id FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE
);
INSERT INTO "sessions" VALUES(X'0101010101010101010101010101010101010101010101010101010101010101',1,1800000000.0,1800000000.0);
CREATE TABLE tokens (
	id VARCHAR(32) NOT NULL, 
	token_hash BLOB NOT NULL, 
	account_id INTEGER NOT NULL, 
	label VARCHAR(255) NOT NULL, 
	created_at DOUBLE NOT NULL, 
	used_at DOUBLE, 
	CONSTRAINT pk_tokens PRIMARY KEY (id), 
	CONSTRAINT uq_tokens_token_hash UNIQUE (token_hash), 
	CONSTRAINT fk_tokens_account_id FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE
);
INSERT INTO "tokens" VALUES('0f87357575f1cb69',X'0202020202020202020202020202020202020202020202020202020202020202',1,'a program',1800000000.0,NULL);
CREATE INDEX ix_sessions_account_id ON sessions (account_id);
CREATE INDEX ix_tokens_account_id ON tokens (account_id);
CREATE INDEX ix_models_account_id ON models (account_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('accounts',1);
COMMIT;
