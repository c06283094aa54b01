-- A store as version 2 left it: two projects whose deployments lie between each other, a deleted JWK, events that were not published yet.
PRAGMA application_id = 1247234881;
PRAGMA user_version = 2;
BEGIN TRANSACTION;
CREATE TABLE audit_outbox (
    sequence INTEGER PRIMARY KEY,            -- of its last line
    lines TEXT NOT NULL                      -- JSON objects, one a line
) STRICT;
INSERT INTO "audit_outbox" VALUES(57,'{"sequence":55,"previous":"tGVkxAo_IkrQ7yy85ZmebzGcrd9jxhywYdwSioi5sh0","time":"2026-11-30T18:02:29.670Z","type":"outcome","deploymentId":"01a22d9f-619b-7387-9dcc-8dc4bf9be71d","environment":"production","settled":true,"success":true,"message":null}
{"sequence":56,"previous":"_A3_N_l-Y2mTB7fiiccZzbVHXFUbmsFJGa_xzQ4I7Do","time":"2026-11-30T18:02:29.670Z","type":"outcome","deploymentId":"01a22d9f-619b-7387-9dcc-8dc4bf9be71d","environment":"staging","settled":true,"success":true,"message":null}
{"sequence":57,"previous":"hVfzr2gOhp2tWkWnmSgiAR8Sfcg3Ep5LsOnjkAEH4pE","time":"2026-11-30T18:02:29.670Z","type":"change","actor":"alice","project":"MyProject","jwk":"renamed","jwkId":"01a22d9f-6106-7bbd-a6db-e9750c2c8754","operation":"update","changed":"name,description","epoch":1,"version":3,"deploymentId":"01a22d9f-61a6-7592-9df7-0b538cd1a631","eventId":"01a22d9f-61a6-75bb-9258-d5f172c12e5e","eventHash":"b4qH2ei0wU8oOZdbFAIcwP_NWZdaGxZecNwPDH8FPQQ"}');
INSERT INTO "audit_outbox" VALUES(60,'{"sequence":58,"previous":"rrv7mRwtVGJva7U_bEBjQFdbV5sZmz8ZTabyfREuFJ8","time":"2026-11-30T18:02:29.683Z","type":"outcome","deploymentId":"01a22d9f-61a6-7592-9df7-0b538cd1a631","environment":"production","settled":true,"success":true,"message":null}
{"sequence":59,"previous":"mttNHByVZNp9lNHRT8MJr8CagW2Rpf8zA5IHjwiwhzA","time":"2026-11-30T18:02:29.683Z","type":"outcome","deploymentId":"01a22d9f-61a6-7592-9df7-0b538cd1a631","environment":"staging","settled":true,"success":true,"message":null}
{"sequence":60,"previous":"25pgH9uM3tLfNo0Yc2u0VnI8gaYZqn4BunTsZQNU4SI","time":"2026-11-30T18:02:29.683Z","type":"change","actor":"alice","project":"MyProject","jwk":"ec","jwkId":"01a22d9f-60ed-7ac6-9d82-9060090e9178","operation":"update","changed":"description","epoch":1,"version":5,"deploymentId":"01a22d9f-61b4-700e-be3c-be46e4ac25bf","eventId":"01a22d9f-61b4-702c-8421-47124d0ab3f5","eventHash":"DG1uLXiLtR1uODfMU9dp4J9mj3wjpZjxycrIhn6mhB0"}');
INSERT INTO "audit_outbox" VALUES(61,'{"sequence":61,"previous":"V4jWVqpN-O3DBy6RAn0U9mVROt80Qd2RDNHs2en3e8Q","time":"2026-11-30T18:02:29.685Z","type":"change","actor":"alice","project":"MyProject","jwk":"renamed","jwkId":"01a22d9f-6106-7bbd-a6db-e9750c2c8754","operation":"update","changed":"description","epoch":1,"version":4,"deploymentId":"01a22d9f-61b5-7dcb-acf1-5404c09ee01c","eventId":"01a22d9f-61b5-7df6-98c5-7016a5218dfd","eventHash":"_G6LUU-uJdjdwiHLxTbrqshJ0hmJ_3oMdFZsCZQh1WE"}');
CREATE TABLE client (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT NOT NULL UNIQUE,                -- the client_id
    secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
    user TEXT NOT NULL,
    roles INTEGER NOT NULL,                  -- bits, see api/access.h
    all_projects INTEGER NOT NULL CHECK (all_projects IN (0, 1)),
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE TABLE client_project (
    client_id INTEGER NOT NULL REFERENCES client (id),
    project_id INTEGER NOT NULL REFERENCES project (id) ON DELETE CASCADE,
    PRIMARY KEY (client_id, project_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE data_key (
    id INTEGER PRIMARY KEY,
    master_key TEXT NOT NULL,                -- which one, by a name made from its hash
    sealed BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
INSERT INTO "data_key" VALUES(1,'EPEAwXMP',X'61C96FA796103ACB9A0910DE7F5BB354623D068A9E2C8316C804E89C57C565664737C69FE345B44B3282EC8526E9023A5084A3FEF96EECB871824839',1796061748741);
CREATE TABLE deployment (
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    project_id INTEGER NOT NULL,             -- of the JWK
    jwk_id INTEGER NOT NULL REFERENCES jwk (id),
    operation INTEGER NOT NULL,              -- enum event_operation
    epoch INTEGER NOT NULL,
    version INTEGER NOT NULL,
    jwk_name TEXT NOT NULL,                  -- after the change
    changed TEXT,                            -- names of the fields that an update changed, separated by commas; NULL: none
    actor TEXT NOT NULL,
    event_hash TEXT NOT NULL,                -- SHA-256 of the event's value: an ack must name it
    created_at INTEGER NOT NULL
, previous INTEGER) STRICT;
INSERT INTO "deployment" VALUES(1,'01a22d9f-60db-763b-9c2e-78abaa3a5b74',3,1,0,1,1,'probe',NULL,'alice','8TFD7eLyeem4hx0Q9kwfQfDKED4ZTMBKaxWMH4xd4Vs',1796061749466,NULL);
INSERT INTO "deployment" VALUES(2,'01a22d9f-60df-78b6-82e3-4fef7e6cd1b5',3,1,1,1,2,'probe','description','alice','3-6R1JBmULY9LXhvDGab6K-q5ThRC5BIItu0x6qP4nE',1796061749471,1);
INSERT INTO "deployment" VALUES(3,'01a22d9f-60ea-7d33-a052-abc1217d90ec',3,1,2,1,3,'probe',NULL,'alice','HZCGKb8gpG-a1I2A83VrNUSB9L2qBF7un_u3GFcTPdc',1796061749482,2);
INSERT INTO "deployment" VALUES(4,'01a22d9f-60ed-7f1e-a553-37f933c6fe9b',1,2,0,1,1,'ec',NULL,'alice','EW-12qoVIp9BA4yKb443sdCT05aGS7XmdbWfLRnQ7ok',1796061749485,NULL);
INSERT INTO "deployment" VALUES(5,'01a22d9f-60fb-73c2-b974-b253fbd8a97f',2,3,0,1,1,'ec',NULL,'alice','sduZUSFEwA7I0osH7v9mqs9GdiTvI-H4tL7MMfQ32M8',1796061749498,NULL);
INSERT INTO "deployment" VALUES(6,'01a22d9f-6107-70e8-8a55-b4ffab990f8f',1,4,0,1,1,'okp',NULL,'alice','uq029RqcFQCp-L7csFQbs2YpSUYBjW4nWLe56yxUEpE',1796061749510,NULL);
INSERT INTO "deployment" VALUES(7,'01a22d9f-6112-70e0-946f-305b8ed1aa97',2,5,0,1,1,'okp',NULL,'alice','J4FJdekWZMJEq25Qd6VOL9iXMu5E50oGs2GnWJhq1IU',1796061749521,NULL);
INSERT INTO "deployment" VALUES(8,'01a22d9f-613e-770e-9410-157c2b907a93',1,2,1,1,2,'ec','description','alice','KZ3ewoIAnTHCkA-2OS3Ri-1xjzZAJCwQIOndw4f8rR4',1796061749566,4);
INSERT INTO "deployment" VALUES(9,'01a22d9f-6149-7e92-bb9e-b6ad19c44d71',2,5,1,1,2,'okp','description','alice','XEXtktBb6g7cxb9zNWLKXd69juhUwgIwfqmgdTiLaIU',1796061749577,7);
INSERT INTO "deployment" VALUES(10,'01a22d9f-6156-713b-8be7-78e8ff4f9114',1,2,1,1,3,'ec','description','alice','pI-lIPb5cE33VUIiJ11C2DhJbIQ5DlIuXfvbnBsg0nM',1796061749590,8);
INSERT INTO "deployment" VALUES(11,'01a22d9f-6162-72e1-ae42-6ecc75663632',2,5,1,1,3,'okp','description','alice','Hwn4ItzCNRio2GjsAcOCwxk1uYpXHU-4I7qiPzD7Zic',1796061749602,9);
INSERT INTO "deployment" VALUES(12,'01a22d9f-616f-7250-a152-7c33e869b41e',1,2,1,1,4,'ec','description','alice','XpYA887A3wawRUwQpzcG5XCVB7b-B82Z6VysHwTWOUE',1796061749615,10);
INSERT INTO "deployment" VALUES(13,'01a22d9f-6179-729a-96fe-c2c4fcf75167',2,5,1,1,4,'okp','description','alice','fk4_tOuujDVFSaxZ1-GFTAEghjc9zf7ihvglMl1b9gQ',1796061749625,11);
INSERT INTO "deployment" VALUES(14,'01a22d9f-6184-7d87-a2ce-48e7df49ccca',1,4,3,1,2,'okp',NULL,'alice','xYxAhvgTVOqSsslGGQa8-JbDOuAia6ZKLBfQT59vtEU',1796061749636,6);
INSERT INTO "deployment" VALUES(15,'01a22d9f-6191-778e-8bc4-1d6d2e854004',1,6,0,1,1,'deleted',NULL,'alice','IBoDx2vZzxgvpW6sJPArBZJXAzDqkgIuFkzxvWckm8c',1796061749649,NULL);
INSERT INTO "deployment" VALUES(16,'01a22d9f-619b-7387-9dcc-8dc4bf9be71d',1,6,2,1,2,'deleted',NULL,'alice','5sCqHC-mhhdGTlQW92tXxY6rj0uKNhqlgcWF61rCjMw',1796061749659,15);
INSERT INTO "deployment" VALUES(17,'01a22d9f-61a6-7592-9df7-0b538cd1a631',1,4,1,1,3,'renamed','name,description','alice','b4qH2ei0wU8oOZdbFAIcwP_NWZdaGxZecNwPDH8FPQQ',1796061749670,14);
INSERT INTO "deployment" VALUES(18,'01a22d9f-61b4-700e-be3c-be46e4ac25bf',1,2,1,1,5,'ec','description','alice','DG1uLXiLtR1uODfMU9dp4J9mj3wjpZjxycrIhn6mhB0',1796061749683,12);
INSERT INTO "deployment" VALUES(19,'01a22d9f-61b5-7dcb-acf1-5404c09ee01c',1,4,1,1,4,'renamed','description','alice','_G6LUU-uJdjdwiHLxTbrqshJ0hmJ_3oMdFZsCZQh1WE',1796061749685,17);
CREATE TABLE deployment_result (
    deployment_id INTEGER NOT NULL REFERENCES deployment (id),
    environment_id INTEGER NOT NULL REFERENCES environment (id),
    state INTEGER NOT NULL DEFAULT 0,        -- enum result_state: 0 pending, 1 succeeded, 2 failed
    message TEXT,                            -- NULL: the standard sentence of its state
    replicas TEXT,                           -- JSON {"replica": "" or its error}; NULL when nothing is to be remembered
    settled_at INTEGER,
    PRIMARY KEY (deployment_id, environment_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "deployment_result" VALUES(1,1,1,NULL,NULL,1796061749475);
INSERT INTO "deployment_result" VALUES(1,2,1,NULL,NULL,1796061749480);
INSERT INTO "deployment_result" VALUES(2,1,1,NULL,NULL,1796061749480);
INSERT INTO "deployment_result" VALUES(2,2,1,NULL,NULL,1796061749480);
INSERT INTO "deployment_result" VALUES(3,1,1,NULL,NULL,1796061749491);
INSERT INTO "deployment_result" VALUES(3,2,1,NULL,NULL,1796061749491);
INSERT INTO "deployment_result" VALUES(4,1,1,NULL,NULL,1796061749491);
INSERT INTO "deployment_result" VALUES(4,2,1,NULL,NULL,1796061749497);
INSERT INTO "deployment_result" VALUES(5,1,1,NULL,NULL,1796061749508);
INSERT INTO "deployment_result" VALUES(5,2,1,NULL,NULL,1796061749508);
INSERT INTO "deployment_result" VALUES(6,1,1,NULL,NULL,1796061749519);
INSERT INTO "deployment_result" VALUES(6,2,1,NULL,NULL,1796061749519);
INSERT INTO "deployment_result" VALUES(7,1,1,NULL,NULL,1796061749558);
INSERT INTO "deployment_result" VALUES(7,2,1,NULL,NULL,1796061749564);
INSERT INTO "deployment_result" VALUES(8,1,1,NULL,NULL,1796061749576);
INSERT INTO "deployment_result" VALUES(8,2,1,NULL,NULL,1796061749576);
INSERT INTO "deployment_result" VALUES(9,1,1,NULL,NULL,1796061749588);
INSERT INTO "deployment_result" VALUES(9,2,1,NULL,NULL,1796061749588);
INSERT INTO "deployment_result" VALUES(10,1,1,NULL,NULL,1796061749600);
INSERT INTO "deployment_result" VALUES(10,2,1,NULL,NULL,1796061749600);
INSERT INTO "deployment_result" VALUES(11,1,1,NULL,NULL,1796061749612);
INSERT INTO "deployment_result" VALUES(11,2,1,NULL,NULL,1796061749612);
INSERT INTO "deployment_result" VALUES(12,1,1,NULL,NULL,1796061749623);
INSERT INTO "deployment_result" VALUES(12,2,1,NULL,NULL,1796061749623);
INSERT INTO "deployment_result" VALUES(13,1,1,NULL,NULL,1796061749634);
INSERT INTO "deployment_result" VALUES(13,2,1,NULL,NULL,1796061749634);
INSERT INTO "deployment_result" VALUES(14,1,1,NULL,NULL,1796061749646);
INSERT INTO "deployment_result" VALUES(14,2,1,NULL,NULL,1796061749646);
INSERT INTO "deployment_result" VALUES(15,1,1,NULL,NULL,1796061749657);
INSERT INTO "deployment_result" VALUES(15,2,1,NULL,NULL,1796061749657);
INSERT INTO "deployment_result" VALUES(16,1,1,NULL,NULL,1796061749668);
INSERT INTO "deployment_result" VALUES(16,2,1,NULL,NULL,1796061749668);
INSERT INTO "deployment_result" VALUES(17,1,1,NULL,NULL,1796061749679);
INSERT INTO "deployment_result" VALUES(17,2,1,NULL,NULL,1796061749679);
INSERT INTO "deployment_result" VALUES(18,1,0,NULL,NULL,NULL);
INSERT INTO "deployment_result" VALUES(18,2,0,NULL,NULL,NULL);
INSERT INTO "deployment_result" VALUES(19,1,0,NULL,NULL,NULL);
INSERT INTO "deployment_result" VALUES(19,2,0,NULL,NULL,NULL);
CREATE TABLE environment (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    removed_at INTEGER
, keys TEXT) STRICT;
INSERT INTO "environment" VALUES(1,'01a22d9f-5e07-75be-89a5-332b3bc752d8','production',1796061748743,NULL,'{"keys":[{"kty":"EC","crv":"P-256","x":"_vVQ56HcoF0WDqras0YrDgfuBX_JbcferKZSEHyKdKA","y":"sGpsdlR5l9J5ca4PHsVJRovr_1J0VBAMUzQACgBNDjU","use":"enc","alg":"ECDH-ES+A256KW","kid":"dcUhORmfRK4F89nBd5fTwlnDMyw-w36Fn2hmzJiem08"},{"kty":"OKP","crv":"Ed25519","x":"6CMgUYcTeH0XGm0JhM75ByQecR1HHrXU_jXBrEXfcms","use":"sig","alg":"EdDSA","kid":"GEBoBqbTbCOUckDz7akDmA8clPP-A2nNDRGjxYGUzeE"}]}');
INSERT INTO "environment" VALUES(2,'01a22d9f-5e11-7b61-8d7e-ed8d8d506e4d','staging',1796061748753,NULL,'{"keys":[{"kty":"EC","crv":"P-256","x":"_V70rZugJACTJjm4Rohqz42aMuOHKXyK9JiLsnqDivc","y":"Ie5HuV_HKbH3zB9mjHtqPUsoAlxpOfn7o2hiSJ301dQ","use":"enc","alg":"ECDH-ES+A256KW","kid":"MvtJs7CsD7PL5QP1xYLsblDM_61ojJLXJQkqmfXre0M"},{"kty":"OKP","crv":"Ed25519","x":"H3efwFQSBToKHnvF93Ksg6i-YEQFnTEBaCz1DW_ke4w","use":"sig","alg":"EdDSA","kid":"cmb6i9smIf4lPU23RnQ0iMkGRgspMD9dSqB66BhqAig"}]}');
CREATE TABLE idempotency (
    user TEXT NOT NULL,
    key TEXT NOT NULL,
    request_hash BLOB NOT NULL CHECK (length(request_hash) = 32), -- of method, path and body
    first_deployment INTEGER,                -- ids of the deployments that the request recorded; NULL: none
    last_deployment INTEGER,
    status INTEGER,                          -- of the answer; NULL until there was one
    location TEXT,
    body TEXT,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (user, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE jwk (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT NOT NULL UNIQUE,
    project_id INTEGER NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    description TEXT,
    type TEXT NOT NULL CHECK (type IN ('RSA', 'EC', 'OCT', 'OKP')),
    kid TEXT,
    source_type TEXT NOT NULL,
    source_id TEXT,                          -- uid of the certificate, key or keystore it is attached to
    source_url TEXT,
    version INTEGER NOT NULL CHECK (version > 0),
    retiring_until INTEGER,                  -- the latest of jwk_retiring; NULL: there is none, and nothing to look up
    partition INTEGER NOT NULL CHECK (partition >= 0), -- of the events topic; never changes
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER,
    tombstoned_at INTEGER
, deployment INTEGER) STRICT;
INSERT INTO "jwk" VALUES(1,'01a22d9f-60da-7a28-9dfc-00a09c294a53',3,'probe','f20bb7e2efd346d68b5bbfe1aac3f511','EC','probe','COPY_PASTE',NULL,NULL,3,NULL,0,1796061749466,1796061749482,1796061749482,NULL,3);
INSERT INTO "jwk" VALUES(2,'01a22d9f-60ed-7ac6-9d82-9060090e9178',1,'ec','Changed while there was no broker','EC','ec','COPY_PASTE',NULL,NULL,5,NULL,3,1796061749485,1796061749683,NULL,NULL,18);
INSERT INTO "jwk" VALUES(3,'01a22d9f-60fa-7fd4-ba58-cfdb6f00b37b',2,'ec','one','EC','ec','COPY_PASTE',NULL,NULL,1,NULL,1,1796061749498,1796061749498,NULL,NULL,5);
INSERT INTO "jwk" VALUES(4,'01a22d9f-6106-7bbd-a6db-e9750c2c8754',1,'renamed','Changed while there was no broker','EC','okp','COPY_PASTE',NULL,NULL,4,NULL,1,1796061749510,1796061749685,NULL,NULL,19);
INSERT INTO "jwk" VALUES(5,'01a22d9f-6111-7b96-bb98-113d60f710ee',2,'okp','round 2','EC','okp','COPY_PASTE',NULL,NULL,4,NULL,3,1796061749521,1796061749625,NULL,NULL,13);
INSERT INTO "jwk" VALUES(6,'01a22d9f-6191-728e-abd4-e3611ebb52d5',1,'deleted',NULL,'EC','deleted','COPY_PASTE',NULL,NULL,2,NULL,1,1796061749649,1796061749659,1796061749659,NULL,16);
CREATE TABLE "jwk_material" (
    jwk_id INTEGER PRIMARY KEY REFERENCES jwk (id),
    public_key TEXT,                         -- JSON; NULL for a symmetric key
    private_key BLOB,                        -- sealed JSON of the whole key; NULL when there is no private half
    envelope TEXT,                           -- the same as a JWE for the environments, as events carry it
    envelope_generation INTEGER              -- the environment_generation that it was made for
) STRICT;
INSERT INTO "jwk_material" VALUES(2,'{"crv":"P-256","kid":"ec","kty":"EC","x":"r70A_OKxqI60wQpTlQ5DfSCydBL7h3AaDSZolzfiK48","y":"2hPARoZJsZUyRlty44dC-A9BQrM0X4s6jR8qaM3n40M"}',X'0100000001DA344EEF1FACC14A8000AE7E9EBDA65CD4CC4D28FE74A1EB02E28A6CA30E60C36E2416DF52CC667BA468A8301A0E2F01866CA9D5B70066D41C34A958E12D818B1734537DBA192BBF3439DAFF81B4B0909844D248AB3F2592E0599B5C7B66E43B28043AEB27FAF7EB6C32E792390E384020C5AACB38412CB6D43E9E646BD996AD7F34D45D4BFDE7C11B4F917285108490966CC9E4D4AA139FFE09DFB28C6ED9399484473C82C32632CB10027959F10EE4BC7BBDA78FF51C690CBF143C2C0D8F377792AF0EF654FA06D6CD3B15CBEE8E6120AD51C4A3D841','{"protected":"eyJlbmMiOiJBMjU2R0NNIn0","recipients":[{"header":{"alg":"ECDH-ES+A256KW","kid":"dcUhORmfRK4F89nBd5fTwlnDMyw-w36Fn2hmzJiem08","epk":{"kty":"EC","crv":"P-256","x":"ZBzOgxHQpcxWq_I0eppLtjVaAyT6ZRYj4PKg98vAB6M","y":"s20Y3WbYPKEF7ClcObP2ujf85phrGrkSLXGSRnf1NIs"}},"encrypted_key":"ekHLx75P4viSek_DrYsfKi1BoKZ83rvfeBC0lmFVakbR4b5cUdcYAg"},{"header":{"alg":"ECDH-ES+A256KW","kid":"MvtJs7CsD7PL5QP1xYLsblDM_61ojJLXJQkqmfXre0M","epk":{"kty":"EC","crv":"P-256","x":"y2ptk4Q5VxErefacO2vihqYfaHH_x6JvHmDVJ3Ew-ak","y":"gtaVk6d3APzBCpix7nPw0olPKf5XwHYeGanyWpEzZ0Q"}},"encrypted_key":"hpf1temFazMGlxIIlWutV7Ut5iOFS2rLxx9I8AHY2lnSTj5zUiVWew"}],"aad":"MDFhMjJkOWYtNjBlZC03YWM2LTlkODItOTA2MDA5MGU5MTc4","iv":"KiRpymCKbwHXrLpI","ciphertext":"1g9NAxTea1gs_7YBjHhE2Z2DmTduhf2irJVG2piwlAJuImsCEFBs1y40oFEoJcnta_l1oLhkxWsEPeH1-uoBBkgg3sBoBnshi1sIC0LjmCLClJgIystFP1sQ0nGDJDY4Dh4qF68wAwvKZIGUGdLLrwXxAuRQGNtfOLsxViJU1XqBb6slB5jfZs-hxWhskYp1QA-rASe3pNzMfP1KxOoJ1jWNZb-Lw4t5kxJObEIwcC2D0lYB34BjuZNnwQ","tag":"SaCWvgR6wM5IMvljqkxppw"}',3);
INSERT INTO "jwk_material" VALUES(3,'{"crv":"P-256","kid":"ec","kty":"EC","x":"NS46Yq7_B3fB6jntvwGJT0p_vCZFF3yV0rVx-xpE_lM","y":"Ut_AWaNwc_2fWwNCO8Mm8CStVvm-_6OTIDZDpa_CCew"}',X'01000000014880DC65C77036795F9DC0ABAEC9473A523689CDE6B0B65FA548CFD1ECB529BC41978ABD9CAEB9F1D6B62DECDA812E69A8704FC37147D8F68DA0A5994E190B108847EE2CD0CA3F1C767D311EEF7B8853CE6BEE63574DA12086131C227DF8DA68E3965EB679DB6E1C02A5E4C712D8520F1B1F8D8B538E33F7C354FB1F362BEB4B5F34339B72FBCBD46685931379ACD8E5EB4105AA0778133417D53AB2BD7A1CBF6FDDC72CB184F84CEA404F990950CE91D263B7FA4137F1A9C3A87300306451B7D22EF0DF1005FF737DF25B0A6341DBEFEA5FA9DFD3BC43','{"protected":"eyJlbmMiOiJBMjU2R0NNIn0","recipients":[{"header":{"alg":"ECDH-ES+A256KW","kid":"dcUhORmfRK4F89nBd5fTwlnDMyw-w36Fn2hmzJiem08","epk":{"kty":"EC","crv":"P-256","x":"sgn9hsX6tNs6IvlUnueTo8NAAGglpGi1lbiRwKtFJCs","y":"K_lIsWdCSP7RDJfG0xG2EUjnVgVsK5mB6X6z0Sd2Occ"}},"encrypted_key":"N7r9BWceza8S3HSSTRySj1chPpO4Pz_0wdNAMtD54Uh4w1QGHmH_5Q"},{"header":{"alg":"ECDH-ES+A256KW","kid":"MvtJs7CsD7PL5QP1xYLsblDM_61ojJLXJQkqmfXre0M","epk":{"kty":"EC","crv":"P-256","x":"bq1r-AJW7aTjt4njfrAutvCHBsunUGjAOpSRHcs4w9E","y":"BIn4Xu46hSxlloNx3o36NpVn5xao7FC_mHndD99UEkM"}},"encrypted_key":"AEpksf2vIrbHqgWoAyGoovMvSMpDVBfn5cTR5dBWJWzgILudlP4xGQ"}],"aad":"MDFhMjJkOWYtNjBmYS03ZmQ0LWJhNTgtY2ZkYjZmMDBiMzdi","iv":"qd99sjT4E_IDpzT4","ciphertext":"Qp-0OoOG3s67WrpNHGhNSiTQ5DN1fXQqXJrjA2JWA8DPXZ8IqzGGYnmYgb7CwpjqEmpNG1OZnAi13E64JyiFipElsMwyoLDqYNXLj7SUXfIXMenHSo33maXtMlHfcNs8f9c5NbDxQON6bCevIR9Vaaq8pcxoW31Y6rwUEuRqcWjsNjRFIRgfaZ5gOjZGPGxBefjPlnpsr3wI1FNJZdNQZotw4eXbay4v44rdZbbhFEDAv6mXe4axE31wJQ","tag":"_Qs8Mc4rxI3EgU0U3zpuEA"}',3);
INSERT INTO "jwk_material" VALUES(4,'{"crv":"P-256","kid":"okp","kty":"EC","x":"SW3ExFe3v3vjKSmnYwkX633JmQJBJSTIseBTwLvo4SE","y":"u1jhpsYDkWshQTO1Wx4_o5n6BhXIaGOQWfii3E1qqXI"}',X'01000000013A5B66A4E05A941EA897011B78781EA4296CDBFC82CC31F4AE7463AD8B9CB2E3EDFF02E73EBC39E4D90C35D99433B8521E867DDAFC60803B036080F898CAB0C718C73419AA0C69CCEEE2D94C195FCF0F4022AEFA71C5C82D183120AC17E26C315FA84DDCC68F307D5C2E9971F541AF23395474B289E9A4BBAD1BF7DDA0BA17F79326E82B9A0618E61B03851E34432C2FF88D333EA57E83D0B9E8B2287B40E189F456F6F561D5ECD2A2BB21CB5D2A4FC41D9DF037F856C198163D425C4A7C665C71152E6BE3CE4DC447AC7BE0000BA9682D03BD4CA0BE3365','{"protected":"eyJlbmMiOiJBMjU2R0NNIn0","recipients":[{"header":{"alg":"ECDH-ES+A256KW","kid":"dcUhORmfRK4F89nBd5fTwlnDMyw-w36Fn2hmzJiem08","epk":{"kty":"EC","crv":"P-256","x":"Pf9KF7vjg9QQiZylJ4pewEER5u2jHs7jYcqjhckUa_0","y":"9zW_U6QFnOH-PkEyiBX3B6-l-0O7RnodnYhTJav73_Y"}},"encrypted_key":"MQLAhdbk1Gbf0pAcYQbvsQep4aujjPS6Tm83uuWPFOsozTvLLsxkwQ"},{"header":{"alg":"ECDH-ES+A256KW","kid":"MvtJs7CsD7PL5QP1xYLsblDM_61ojJLXJQkqmfXre0M","epk":{"kty":"EC","crv":"P-256","x":"kWNx6TiV2VmuHqkJnjRKtdcL3WlG5y_ESrl39qetQ-Q","y":"mKqj0P60HeOrxOUKqdekLOs5_NX38p38RSr1qS4OG1c"}},"encrypted_key":"pJA5AgrC7Jaeg0V_Cbd0AbkxqD9bpyAVhcjSDufr4iOfpxGjIC089w"}],"aad":"MDFhMjJkOWYtNjEwNi03YmJkLWE2ZGItZTk3NTBjMmM4NzU0","iv":"WXcTQw0Sr6Bl4NmT","ciphertext":"awCZNrWcmf52B-fRr7fe4LCNjO_eA1tzRjnW8JPKd-zJMThi2OkpocfcqvNO18hYavUH6TysFXo6C1fS5w9fKarmkaBjvt0olCoHhLaKNv-q4BZpVZ0kKvqJKVwNv9vvDEw5Rq3sm4PDkDP2YlSPQhnKwaDxh6TpWR69RImN9yze8dtA92dzg3yAvf7z2lxnyQyIgQZo0h0hTN-l7n4UpwnaJgWbyz_ZX2XqfGXiaIH1xVA3lFypl5kg3BA","tag":"77-qx9eF1cV87Oqitz3wJQ"}',3);
INSERT INTO "jwk_material" VALUES(5,'{"crv":"P-256","kid":"okp","kty":"EC","x":"LfgbPZrExBtQ8iJYngJXfrhnwqEhUM3dghihd6bBVUU","y":"ZXJWZNrP0cNYzJA8xDB_PjtSJ-LCC6M_RObtAZALmZk"}',X'01000000015FEB5AD6D7AEF35835F5EFB58777F71519BE68DD52DCDC8704DBA71D4E7870F39C823BD1727317D16BEE6C9F72650F9105D2A74F784FA8B3AB573A00F8E6DA463F459B519EA0C8FFD3BAD6A558A2FAC9FC33FA352A583F6D81EA2893C0EB8148CC3098C0BF12FFA1CDE2598CE2CF8F9E0455D16BE2BAA9FF3BF78FA6AF6D4081312E353BE13A9276E253A1F75894C4D7962D5F36FE7AFACFD0B06778CA010BD29ABA6375725CCA22E4AE42D024A26BB1584DDE4826DCD8035B26CED41CE3746ECDE0440F156AF1A838603587A7B847EE0D1C815D06054CCF','{"protected":"eyJlbmMiOiJBMjU2R0NNIn0","recipients":[{"header":{"alg":"ECDH-ES+A256KW","kid":"dcUhORmfRK4F89nBd5fTwlnDMyw-w36Fn2hmzJiem08","epk":{"kty":"EC","crv":"P-256","x":"JdI17vR-rdhxGENI2Xmh3n-QJBiqqCDMTTFTDkl6WLk","y":"d012WNsXok0Phua2fO0PIP_MJvLLA0B00Mb3hugWWwM"}},"encrypted_key":"88FLlIqmALDBXjVnYpvWkYglq0qQh-RidaXUHeLC2mU8wvROe9IToA"},{"header":{"alg":"ECDH-ES+A256KW","kid":"MvtJs7CsD7PL5QP1xYLsblDM_61ojJLXJQkqmfXre0M","epk":{"kty":"EC","crv":"P-256","x":"39k4P2z5uEC-YDLywUBXE4x3v_qP42eCNBGXLA8mXAA","y":"r43s4apKU8cJCKUnfzRZ1TPU8mtxZMREfyrFrghh0kc"}},"encrypted_key":"sO6uDUik5D4cUANSosTS7F-58t2bGr1tT_kZ7hc9Kh7BPmNEOnxFUw"}],"aad":"MDFhMjJkOWYtNjExMS03Yjk2LWJiOTgtMTEzZDYwZjcxMGVl","iv":"SqZeRLZTjJg01fHi","ciphertext":"2M1JhvMrAbHCRPtjeJX0daN5JZ1edGVUSgl81EJgaapmqNtq4xgDrbc96vTeXrUJRvbLdn3KxVun1Dd9Ucr5pRXeNftWKOAt9UlOcnKM35DNIrsYgl8wuK9rdB1d8h096DxUs1I-_-3rqnFu8CqYTV8WJWKYt7FIKUv3r3KjB9lT0xrZ3DG4KPu5F4PweQd8hRELHjgusDbtFckRAS1aaACMnYN_qISOge3Ch1pnp0josABhnsJ54sdvFvw","tag":"J7J7d9M88PsepCPQE603pA"}',3);
CREATE TABLE jwk_origin (
    jwk_id INTEGER PRIMARY KEY REFERENCES jwk (id),
    attached_version INTEGER NOT NULL,       -- of the JWK: tells one attachment from a later one
    source_id INTEGER NOT NULL REFERENCES source (id),
    environment_id INTEGER REFERENCES environment (id), -- NULL: the only one, or any of a certificate
    use_type TEXT,
    algorithm TEXT,
    alias TEXT                               -- of the keystore's entry
) STRICT;
CREATE TABLE jwk_retiring (
    jwk_id INTEGER NOT NULL REFERENCES jwk (id),
    version INTEGER NOT NULL,                -- of the JWK, with the rotation
    public_key TEXT NOT NULL,                -- JSON
    kid TEXT,
    until INTEGER NOT NULL,                  -- whole seconds, as replicas are told it
    PRIMARY KEY (jwk_id, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE jwk_url (
    jwk_id INTEGER PRIMARY KEY REFERENCES jwk (id),
    attached_version INTEGER NOT NULL,       -- of the JWK, as in jwk_origin
    kid TEXT,                                -- which key of a JWK Set; NULL: the only one
    connect_timeout INTEGER NOT NULL,        -- ms
    read_timeout INTEGER NOT NULL,           -- ms
    size_limit INTEGER NOT NULL,             -- bytes
    etag TEXT,
    last_modified TEXT,
    due_at INTEGER NOT NULL,
    checked_at INTEGER NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0,     -- one after the other, up to now
    error TEXT                               -- of the last one
) STRICT;
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY,                  -- from store.sequence, so never given twice
    partition INTEGER NOT NULL,
    key TEXT NOT NULL,
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    subject TEXT NOT NULL,
    time INTEGER NOT NULL,
    traceparent TEXT,
    value TEXT                               -- NULL: a tombstone
) STRICT;
INSERT INTO "outbox" VALUES(18,3,'01a22d9f-60ed-7ac6-9d82-9060090e9178','01a22d9f-61b4-702c-8421-47124d0ab3f5','jwk.updated.v1','projects/MyProject/jwks/ec',1796061749683,'00-4d0c9ffacf90c9cd0ddf2dba3ffd7d99-72b916343f829bae-00','{"operation":"update","deploymentId":"01a22d9f-61b4-700e-be3c-be46e4ac25bf","epoch":1,"version":5,"sequence":18,"project":{"id":"01a22d9f-5df0-7a98-8d3d-66926ced3e70","name":"MyProject"},"jwk":{"id":"01a22d9f-60ed-7ac6-9d82-9060090e9178","name":"ec","description":"Changed while there was no broker","type":"EC","kid":"ec","publicKey":{"crv":"P-256","kid":"ec","kty":"EC","x":"r70A_OKxqI60wQpTlQ5DfSCydBL7h3AaDSZolzfiK48","y":"2hPARoZJsZUyRlty44dC-A9BQrM0X4s6jR8qaM3n40M"},"privateKey":{"protected":"eyJlbmMiOiJBMjU2R0NNIn0","recipients":[{"header":{"alg":"ECDH-ES+A256KW","kid":"dcUhORmfRK4F89nBd5fTwlnDMyw-w36Fn2hmzJiem08","epk":{"kty":"EC","crv":"P-256","x":"ZBzOgxHQpcxWq_I0eppLtjVaAyT6ZRYj4PKg98vAB6M","y":"s20Y3WbYPKEF7ClcObP2ujf85phrGrkSLXGSRnf1NIs"}},"encrypted_key":"ekHLx75P4viSek_DrYsfKi1BoKZ83rvfeBC0lmFVakbR4b5cUdcYAg"},{"header":{"alg":"ECDH-ES+A256KW","kid":"MvtJs7CsD7PL5QP1xYLsblDM_61ojJLXJQkqmfXre0M","epk":{"kty":"EC","crv":"P-256","x":"y2ptk4Q5VxErefacO2vihqYfaHH_x6JvHmDVJ3Ew-ak","y":"gtaVk6d3APzBCpix7nPw0olPKf5XwHYeGanyWpEzZ0Q"}},"encrypted_key":"hpf1temFazMGlxIIlWutV7Ut5iOFS2rLxx9I8AHY2lnSTj5zUiVWew"}],"aad":"MDFhMjJkOWYtNjBlZC03YWM2LTlkODItOTA2MDA5MGU5MTc4","iv":"KiRpymCKbwHXrLpI","ciphertext":"1g9NAxTea1gs_7YBjHhE2Z2DmTduhf2irJVG2piwlAJuImsCEFBs1y40oFEoJcnta_l1oLhkxWsEPeH1-uoBBkgg3sBoBnshi1sIC0LjmCLClJgIystFP1sQ0nGDJDY4Dh4qF68wAwvKZIGUGdLLrwXxAuRQGNtfOLsxViJU1XqBb6slB5jfZs-hxWhskYp1QA-rASe3pNzMfP1KxOoJ1jWNZb-Lw4t5kxJObEIwcC2D0lYB34BjuZNnwQ","tag":"SaCWvgR6wM5IMvljqkxppw"},"retiring":[]},"actor":"alice","time":"2026-11-30T18:02:29.683Z"}');
INSERT INTO "outbox" VALUES(19,1,'01a22d9f-6106-7bbd-a6db-e9750c2c8754','01a22d9f-61b5-7df6-98c5-7016a5218dfd','jwk.updated.v1','projects/MyProject/jwks/renamed',1796061749685,'00-52efbcf768dbac6fd1f5ec6ed46b932a-7de4d75d70d4e7a9-00','{"operation":"update","deploymentId":"01a22d9f-61b5-7dcb-acf1-5404c09ee01c","epoch":1,"version":4,"sequence":19,"project":{"id":"01a22d9f-5df0-7a98-8d3d-66926ced3e70","name":"MyProject"},"jwk":{"id":"01a22d9f-6106-7bbd-a6db-e9750c2c8754","name":"renamed","description":"Changed while there was no broker","type":"EC","kid":"okp","publicKey":{"crv":"P-256","kid":"okp","kty":"EC","x":"SW3ExFe3v3vjKSmnYwkX633JmQJBJSTIseBTwLvo4SE","y":"u1jhpsYDkWshQTO1Wx4_o5n6BhXIaGOQWfii3E1qqXI"},"privateKey":{"protected":"eyJlbmMiOiJBMjU2R0NNIn0","recipients":[{"header":{"alg":"ECDH-ES+A256KW","kid":"dcUhORmfRK4F89nBd5fTwlnDMyw-w36Fn2hmzJiem08","epk":{"kty":"EC","crv":"P-256","x":"Pf9KF7vjg9QQiZylJ4pewEER5u2jHs7jYcqjhckUa_0","y":"9zW_U6QFnOH-PkEyiBX3B6-l-0O7RnodnYhTJav73_Y"}},"encrypted_key":"MQLAhdbk1Gbf0pAcYQbvsQep4aujjPS6Tm83uuWPFOsozTvLLsxkwQ"},{"header":{"alg":"ECDH-ES+A256KW","kid":"MvtJs7CsD7PL5QP1xYLsblDM_61ojJLXJQkqmfXre0M","epk":{"kty":"EC","crv":"P-256","x":"kWNx6TiV2VmuHqkJnjRKtdcL3WlG5y_ESrl39qetQ-Q","y":"mKqj0P60HeOrxOUKqdekLOs5_NX38p38RSr1qS4OG1c"}},"encrypted_key":"pJA5AgrC7Jaeg0V_Cbd0AbkxqD9bpyAVhcjSDufr4iOfpxGjIC089w"}],"aad":"MDFhMjJkOWYtNjEwNi03YmJkLWE2ZGItZTk3NTBjMmM4NzU0","iv":"WXcTQw0Sr6Bl4NmT","ciphertext":"awCZNrWcmf52B-fRr7fe4LCNjO_eA1tzRjnW8JPKd-zJMThi2OkpocfcqvNO18hYavUH6TysFXo6C1fS5w9fKarmkaBjvt0olCoHhLaKNv-q4BZpVZ0kKvqJKVwNv9vvDEw5Rq3sm4PDkDP2YlSPQhnKwaDxh6TpWR69RImN9yze8dtA92dzg3yAvf7z2lxnyQyIgQZo0h0hTN-l7n4UpwnaJgWbyz_ZX2XqfGXiaIH1xVA3lFypl5kg3BA","tag":"77-qx9eF1cV87Oqitz3wJQ"},"retiring":[]},"actor":"alice","time":"2026-11-30T18:02:29.685Z"}');
CREATE TABLE project (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;
INSERT INTO "project" VALUES(1,'01a22d9f-5df0-7a98-8d3d-66926ced3e70','MyProject',1796061748720);
INSERT INTO "project" VALUES(2,'01a22d9f-5dfa-7a89-94e9-a00bd46df05a','Other',1796061748730);
INSERT INTO "project" VALUES(3,'01a22d9f-60ce-72f6-8c4d-e8999da11917','probe-85c675e3',1796061749454);
CREATE TABLE signing_key (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kid TEXT NOT NULL UNIQUE,
    public_key TEXT NOT NULL,                -- JSON
    private_key BLOB,                        -- sealed; NULL once another has taken its place
    created_at INTEGER NOT NULL,
    activated_at INTEGER,                    -- NULL: to be used later
    accepted_until INTEGER                   -- NULL unless another has taken its place
) STRICT;
INSERT INTO "signing_key" VALUES(1,'C4pIcVXCTL8ooiIoSi67T_SECIKdkYZaFzvXzSIlKv4','{"kty":"OKP","crv":"Ed25519","x":"XcpBltL4SRVZ2d-vJcDfoFCvnxypS-CRjSSJJY-Oi1w","use":"sig","alg":"EdDSA","kid":"C4pIcVXCTL8ooiIoSi67T_SECIKdkYZaFzvXzSIlKv4"}',X'0100000001504E40B1DDD3B315AFC079F39A07B00A57566972569AF8E97B0395565B6C936BC2CC615115CE081C1B7A6A23082DA097BB905099E79001D5C3283C53F19AF06EFE900C6F5ED22FED4A09E2AEA07AD13F3227A9FC9FC97BBFCA7DD77645CF7B8A178E92256CD4F937743C3ED6D6D82BF92CAE881A19C5DF8863A75B1929B6945A8113F02CDF9D8E78591EE16C609F0033CC618D973D80554ABE8DEA79D4D68302DEFDF368067BDC8E00C3F5953E38DD339CEE8C7B7BB8AD5E930EC0C4745F5BE983081EEE924941972592945C069E8857AF81146B4CBB7FD590C9C631580C3065C4583439E6868305E2E52B',1796061748742,1796061748742,NULL);
CREATE TABLE source (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT NOT NULL UNIQUE,
    project_id INTEGER NOT NULL REFERENCES project (id),
    kind INTEGER NOT NULL,                   -- enum source_kind
    name TEXT NOT NULL,
    description TEXT,
    alias TEXT,                              -- of a certificate
    key_type TEXT,                           -- of a key: RSA, EC or OKP
    version INTEGER NOT NULL DEFAULT 1,      -- one more with each update
    attachments INTEGER NOT NULL DEFAULT 0,  -- one more with each JWK that is made from it
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE TABLE "source_material" (
    source_id INTEGER NOT NULL REFERENCES source (id) ON DELETE CASCADE,
    environment_id INTEGER NOT NULL REFERENCES environment (id),
    type TEXT,                               -- of a keystore: PKCS12 or JKS
    public_material TEXT,                    -- a certificate's PEM, a key's public half
    private_material BLOB,                   -- sealed: a key's private half, a keystore's file
    password BLOB,                           -- sealed: of a keystore
    details TEXT NOT NULL,                   -- JSON: what is told of it, nothing secret
    PRIMARY KEY (source_id, environment_id)
) STRICT;
CREATE TABLE store (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    uid TEXT NOT NULL,                       -- the installation: source of all its events
    epoch INTEGER NOT NULL CHECK (epoch > 0), -- one more each time an older store is adopted
    sequence INTEGER NOT NULL DEFAULT 0,     -- the last number given to a deployment or an outgoing record
    partitions INTEGER NOT NULL DEFAULT 0,   -- of the events topic that JWKs are spread over; fixed when first seen
    republish_after INTEGER,                 -- JWKs with a higher id are to be published again; NULL: none
    -- A replica's position tells nothing of deployments up to republish_from until it has passed republish_until (NULL: not known yet): the
    -- topic was made again, and what they deployed comes again in between.
    republish_from INTEGER NOT NULL DEFAULT 0,
    republish_until INTEGER DEFAULT 0,
    created_at INTEGER NOT NULL
, clear_text INTEGER NOT NULL DEFAULT 2, environment_generation INTEGER NOT NULL DEFAULT 1, audit_sequence INTEGER NOT NULL DEFAULT 0, audit_hash TEXT NOT NULL DEFAULT '') STRICT;
INSERT INTO "store" VALUES(1,'01a22d9f-5def-7783-b1a2-76d2e6662b81',1,19,4,NULL,0,0,1796061748719,0,3,61,'q1MBKBwbO9WjvSfaR5DIMY4XYUg1_NO3Z4erDI08sdg');
CREATE TABLE token (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT NOT NULL UNIQUE,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    user TEXT NOT NULL,
    roles INTEGER NOT NULL,                  -- bits, see api/access.h
    all_projects INTEGER NOT NULL CHECK (all_projects IN (0, 1)),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,                      -- NULL: never
    revoked_at INTEGER,
    client_id INTEGER REFERENCES client (id) -- that it was issued to; NULL: made by administration
) STRICT;
INSERT INTO "token" VALUES(1,'01a22d9f-5e1a-7a6b-9ac2-9af8441a147f',X'6B61683A9BC3F62531E068FF291C1DF6DA48EAB9BE373C2B0E34586C0D5EB6C4','alice',3,1,1796061748762,1803837748761,NULL,NULL);
CREATE TABLE token_project (
    token_id INTEGER NOT NULL REFERENCES token (id),
    project_id INTEGER NOT NULL REFERENCES project (id) ON DELETE CASCADE,
    PRIMARY KEY (token_id, project_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE topic_offset (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)
) STRICT, WITHOUT ROWID;
INSERT INTO "topic_offset" VALUES('jwk.acks',0,34);
CREATE UNIQUE INDEX environment_name ON environment (name) WHERE removed_at IS NULL;
CREATE INDEX token_issued ON token (expires_at) WHERE client_id IS NOT NULL;
CREATE INDEX token_client ON token (client_id) WHERE client_id IS NOT NULL;
CREATE UNIQUE INDEX jwk_name ON jwk (project_id, name) WHERE deleted_at IS NULL;
CREATE INDEX jwk_tombstone ON jwk (deleted_at) WHERE deleted_at IS NOT NULL AND tombstoned_at IS NULL;
CREATE INDEX deployment_project ON deployment (project_id, id);
CREATE INDEX idempotency_expiry ON idempotency (expires_at);
CREATE INDEX deployment_result_unsettled ON deployment_result (environment_id, deployment_id) WHERE state <> 1;
CREATE UNIQUE INDEX source_name ON source (project_id, kind, name);
CREATE INDEX jwk_origin_source ON jwk_origin (source_id);
CREATE INDEX jwk_url_due ON jwk_url (due_at);
CREATE INDEX jwk_url_failing ON jwk_url (failures) WHERE failures > 0;
CREATE TRIGGER jwk_detached AFTER UPDATE OF source_id, source_url, deleted_at ON jwk
WHEN (old.source_id IS NOT NULL OR old.source_url IS NOT NULL)
    AND (new.deleted_at IS NOT NULL OR (new.source_id IS NULL AND new.source_url IS NULL))
BEGIN
    DELETE FROM jwk_origin WHERE jwk_id = old.id;
    DELETE FROM jwk_url WHERE jwk_id = old.id;
END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('project',3);
INSERT INTO "sqlite_sequence" VALUES('signing_key',1);
INSERT INTO "sqlite_sequence" VALUES('environment',2);
INSERT INTO "sqlite_sequence" VALUES('token',1);
INSERT INTO "sqlite_sequence" VALUES('jwk',6);
COMMIT;
