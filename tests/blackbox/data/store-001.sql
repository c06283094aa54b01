-- A store as version 1 left it: every kind of JWK and source, a replaced key that is still served, events that were not published yet.
PRAGMA application_id = 1247234881;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
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
INSERT INTO "client" VALUES(1,'01a2102a-4edb-7135-8f1f-3913e873c579',X'3FAE5403C852E1480A8784D8A7872CDEEF105E77A98DE7155817A3F53611787C','carol',1,1,1795567537883,NULL);
CREATE TABLE client_project (
    client_id INTEGER NOT NULL REFERENCES client (id),
    project_id INTEGER NOT NULL REFERENCES project (id) ON DELETE CASCADE,
    PRIMARY KEY (client_id, project_id)
) STRICT, WITHOUT ROWID;
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
) STRICT;
INSERT INTO "deployment" VALUES(1,'01a2102a-5124-7daf-841f-b3f43596f1a7',1,1,0,1,1,'probe',NULL,'alice','T04PuCepS-WJFmFVfnBv_YcKM2iap2zybpZmMWUqv8Q',1795567538468);
INSERT INTO "deployment" VALUES(2,'01a2102a-5127-7511-b52b-697408116f7d',1,1,1,1,2,'probe','description','alice','IGA5ebv476dWNBZQr8sbSS4iZHqCw2LvkP0KhcRP7SA',1795567538471);
INSERT INTO "deployment" VALUES(3,'01a2102a-514a-7b96-bd5c-f2f54e117a9e',1,1,2,1,3,'probe',NULL,'alice','Za8WwOUAmBfwt_r7FIvh0ZuZ90h3qd1U1ooZTYVLl7w',1795567538506);
INSERT INTO "deployment" VALUES(4,'01a2102a-5164-7bbf-b0ca-4b688f69edb8',2,2,0,1,1,'ec',NULL,'alice','amxbAeqz2KvONcI1AuUm458J0jSUT5fvmIRAfZK9fsE',1795567538532);
INSERT INTO "deployment" VALUES(5,'01a2102a-51a0-73e9-ab6f-42e6b4298d4c',2,3,0,1,1,'rsa',NULL,'alice','Ca2LkRst71F8JxoTB9YQBqplpdL0NzmzCuSxESnxj-E',1795567538592);
INSERT INTO "deployment" VALUES(6,'01a2102a-51a8-7f17-be5a-ab323be5a756',2,4,0,1,1,'okp',NULL,'alice','LGK3WV1fa5vjMX4nKqszaVss3CMSnVQ0IRRFD9kYUXM',1795567538600);
INSERT INTO "deployment" VALUES(7,'01a2102a-51b4-76e5-82b0-f00e69c8893e',2,5,0,1,1,'oct',NULL,'alice','wmC-gMFUfn72OHkC0PtRPux-QDeTdK6PSADvQKjlxq0',1795567538612);
INSERT INTO "deployment" VALUES(8,'01a2102a-51c0-750c-ad7d-7d316094c4ea',2,6,0,1,1,'public',NULL,'alice','BdXTU5RkRaZT6Vys1Zn0NjxjnrG2YDEPrUA0HwT7Gp0',1795567538624);
INSERT INTO "deployment" VALUES(9,'01a2102a-51cb-7636-a94c-c5981c26ff87',2,7,0,1,1,'rotated',NULL,'alice','fO8ALiSOP0ouHCgHSE7B0Ly-YXfHHFZjtLBjoMtfYuU',1795567538635);
INSERT INTO "deployment" VALUES(10,'01a2102a-51d1-76dd-b0c3-9f5dce75b00b',2,7,1,1,2,'rotated','kid,material,retiring','alice','L3F03w2Wb_lUoupaTuWtcuEo3tkUmAZ8Y5is2pvH3Oo',1795567538641);
INSERT INTO "deployment" VALUES(11,'01a2102a-51d7-74c4-992b-2aece1c801e6',2,8,0,1,1,'generated',NULL,'alice','RQLNz9TMkKNkSvonHOOZLIsR22WrUMaSmgVlf7lnKyc',1795567538647);
INSERT INTO "deployment" VALUES(12,'01a2102a-51ff-75da-812c-30d217770cda',2,9,0,1,1,'from-certificate',NULL,'alice','VFrAYnaxwXebK_ij06Bljy4PfQ2Oo0pMa1036uFxx9U',1795567538687);
INSERT INTO "deployment" VALUES(13,'01a2102a-520c-75ea-9a2e-3869253e3689',2,10,0,1,1,'from-key',NULL,'alice','1vpnyO_0lmKRPMbdgJbsJSWOs_EOfpnzzUky1FFeaak',1795567538700);
INSERT INTO "deployment" VALUES(14,'01a2102a-522a-738a-bc9c-c16a37136dcf',2,11,0,1,1,'from-keystore',NULL,'alice','5AjzS9rmvyL0JyaCzGM7Gy0c2XYnr-K9R6TZABt6y58',1795567538730);
INSERT INTO "deployment" VALUES(15,'01a2102a-5239-7039-909c-1f878b6fa5ab',2,12,0,1,1,'deleted',NULL,'alice','F7rAGGKN7yDTJswGpN6-qT-GtlvL90GbXdYZw-PhyDg',1795567538744);
INSERT INTO "deployment" VALUES(16,'01a2102a-5244-711b-bd59-887b6c15e73d',2,12,2,1,2,'deleted',NULL,'alice','bRMn6K46dUSzioNWWzaZpV6CZm_fmnMVZNga2W-9_D0',1795567538756);
INSERT INTO "deployment" VALUES(17,'01a2102a-524d-7f88-b559-f13afa500a1e',2,4,1,1,2,'okp','description','alice','w0dEqqZDqvLHf2ZX3IRJi7yiDqqglJvlqUPKh6gfujg',1795567538765);
INSERT INTO "deployment" VALUES(18,'01a2102a-525b-7060-b189-f6da152b43b4',2,2,1,1,2,'ec','description','alice','NLrRTGzyMjVC9o-fYZxoo9UBHSR0OwTx-Q9yGNEGOJM',1795567538778);
INSERT INTO "deployment" VALUES(19,'01a2102a-525e-73e2-a44e-63783598afb9',2,13,0,1,1,'late',NULL,'alice','tubcnYCe7AkbwirqXPK4oFR2k45XGF7-MAxK-JSQ_xs',1795567538782);
CREATE TABLE deployment_result (
    deployment_id INTEGER NOT NULL REFERENCES deployment (id),
    environment_id INTEGER NOT NULL REFERENCES environment (id),
    state INTEGER NOT NULL DEFAULT 0,        -- enum result_state: 0 pending, 1 succeeded, 2 failed
    message TEXT,                            -- NULL: the standard sentence of its state
    replicas TEXT,                           -- JSON {"replica": "" or its error}; NULL when nothing is to be remembered
    settled_at INTEGER,
    PRIMARY KEY (deployment_id, environment_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "deployment_result" VALUES(1,1,1,NULL,NULL,1795567538477);
INSERT INTO "deployment_result" VALUES(1,2,1,NULL,NULL,1795567538504);
INSERT INTO "deployment_result" VALUES(2,1,1,NULL,NULL,1795567538477);
INSERT INTO "deployment_result" VALUES(2,2,1,NULL,NULL,1795567538504);
INSERT INTO "deployment_result" VALUES(3,1,1,NULL,NULL,1795567538515);
INSERT INTO "deployment_result" VALUES(3,2,1,NULL,NULL,1795567538515);
INSERT INTO "deployment_result" VALUES(4,1,1,NULL,NULL,1795567538544);
INSERT INTO "deployment_result" VALUES(4,2,1,NULL,NULL,1795567538537);
INSERT INTO "deployment_result" VALUES(5,1,1,NULL,NULL,1795567538598);
INSERT INTO "deployment_result" VALUES(5,2,1,NULL,NULL,1795567538598);
INSERT INTO "deployment_result" VALUES(6,1,1,NULL,NULL,1795567538610);
INSERT INTO "deployment_result" VALUES(6,2,1,NULL,NULL,1795567538610);
INSERT INTO "deployment_result" VALUES(7,1,1,NULL,NULL,1795567538622);
INSERT INTO "deployment_result" VALUES(7,2,1,NULL,NULL,1795567538622);
INSERT INTO "deployment_result" VALUES(8,1,1,NULL,NULL,1795567538633);
INSERT INTO "deployment_result" VALUES(8,2,1,NULL,NULL,1795567538633);
INSERT INTO "deployment_result" VALUES(9,1,1,NULL,NULL,1795567538639);
INSERT INTO "deployment_result" VALUES(9,2,1,NULL,NULL,1795567538639);
INSERT INTO "deployment_result" VALUES(10,1,1,NULL,NULL,1795567538645);
INSERT INTO "deployment_result" VALUES(10,2,1,NULL,NULL,1795567538645);
INSERT INTO "deployment_result" VALUES(11,1,1,NULL,NULL,1795567538656);
INSERT INTO "deployment_result" VALUES(11,2,1,NULL,NULL,1795567538656);
INSERT INTO "deployment_result" VALUES(12,1,1,NULL,NULL,1795567538697);
INSERT INTO "deployment_result" VALUES(12,2,1,NULL,NULL,1795567538697);
INSERT INTO "deployment_result" VALUES(13,1,1,NULL,NULL,1795567538708);
INSERT INTO "deployment_result" VALUES(13,2,1,NULL,NULL,1795567538708);
INSERT INTO "deployment_result" VALUES(14,1,1,NULL,NULL,1795567538736);
INSERT INTO "deployment_result" VALUES(14,2,1,NULL,NULL,1795567538742);
INSERT INTO "deployment_result" VALUES(15,1,1,NULL,NULL,1795567538753);
INSERT INTO "deployment_result" VALUES(15,2,1,NULL,NULL,1795567538753);
INSERT INTO "deployment_result" VALUES(16,1,1,NULL,NULL,1795567538764);
INSERT INTO "deployment_result" VALUES(16,2,1,NULL,NULL,1795567538764);
INSERT INTO "deployment_result" VALUES(17,1,1,NULL,NULL,1795567538775);
INSERT INTO "deployment_result" VALUES(17,2,1,NULL,NULL,1795567538775);
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
) STRICT;
INSERT INTO "environment" VALUES(1,'01a2102a-4eae-73df-aa1e-ce970a8f1e65','production',1795567537838,NULL);
INSERT INTO "environment" VALUES(2,'01a2102a-4ebf-7e21-8c7e-2c82517ca55c','staging',1795567537855,NULL);
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
) STRICT;
INSERT INTO "jwk" VALUES(1,'01a2102a-5124-7c36-abc4-145a740d4f24',1,'probe','fe3df14b88c2448984c97c9c149faa51','EC','probe','COPY_PASTE',NULL,NULL,3,NULL,2,1795567538468,1795567538506,1795567538506,NULL);
INSERT INTO "jwk" VALUES(2,'01a2102a-5164-7af1-87dc-80caf7bebacf',2,'ec','Changed while there was no broker','EC','ec-1','COPY_PASTE',NULL,NULL,2,NULL,2,1795567538532,1795567538778,NULL,NULL);
INSERT INTO "jwk" VALUES(3,'01a2102a-51a0-7338-80d1-9699de005073',2,'rsa',NULL,'RSA','rsa-1','COPY_PASTE',NULL,NULL,1,NULL,1,1795567538592,1795567538592,NULL,NULL);
INSERT INTO "jwk" VALUES(4,'01a2102a-51a8-7e84-982b-61b9d799a2e4',2,'okp','Renamed','OKP','okp-1','COPY_PASTE',NULL,NULL,2,NULL,2,1795567538600,1795567538765,NULL,NULL);
INSERT INTO "jwk" VALUES(5,'01a2102a-51b4-763a-8b4b-9877e256ba78',2,'oct',NULL,'OCT','oct-1','COPY_PASTE',NULL,NULL,1,NULL,1,1795567538612,1795567538612,NULL,NULL);
INSERT INTO "jwk" VALUES(6,'01a2102a-51c0-745b-92bc-97e2fd73fa4a',2,'public',NULL,'EC','pub-1','COPY_PASTE',NULL,NULL,1,NULL,3,1795567538624,1795567538624,NULL,NULL);
INSERT INTO "jwk" VALUES(7,'01a2102a-51cb-75a3-a4ed-4b18b9ef6b29',2,'rotated',NULL,'EC','new-1','COPY_PASTE',NULL,NULL,2,4102444800000,0,1795567538635,1795567538641,NULL,NULL);
INSERT INTO "jwk" VALUES(8,'01a2102a-51d7-73f5-94b4-c377090f0528',2,'generated',NULL,'EC','sig-1795567538646','GENERATE',NULL,NULL,1,NULL,2,1795567538647,1795567538647,NULL,NULL);
INSERT INTO "jwk" VALUES(9,'01a2102a-51ff-74bd-b1dc-ade211343ebe',2,'from-certificate',NULL,'EC','Sbk32inCcMAjlT3ray84pk71d3Kd7TRr8dQKz94fh0k','CERTIFICATE','01a2102a-51e4-7090-b0df-2bff10c05e43',NULL,1,NULL,0,1795567538687,1795567538687,NULL,NULL);
INSERT INTO "jwk" VALUES(10,'01a2102a-520c-7553-8c44-4cced0a9f54a',2,'from-key',NULL,'EC','Sbk32inCcMAjlT3ray84pk71d3Kd7TRr8dQKz94fh0k','PRIVATE_KEY','01a2102a-51e8-75a8-a70a-86553efac622',NULL,1,NULL,1,1795567538700,1795567538700,NULL,NULL);
INSERT INTO "jwk" VALUES(11,'01a2102a-522a-72a7-a3bb-57aea45a242c',2,'from-keystore',NULL,'EC','Sbk32inCcMAjlT3ray84pk71d3Kd7TRr8dQKz94fh0k','KEYSTORE','01a2102a-51fb-7ba4-9990-00e21fdefb95',NULL,1,NULL,2,1795567538730,1795567538730,NULL,NULL);
INSERT INTO "jwk" VALUES(12,'01a2102a-5238-7f7d-afe9-0ce2cb719b2c',2,'deleted',NULL,'EC','gone','COPY_PASTE',NULL,NULL,2,NULL,3,1795567538744,1795567538756,1795567538756,NULL);
INSERT INTO "jwk" VALUES(13,'01a2102a-525e-732f-87f5-3b7b42391868',2,'late',NULL,'EC','late-1','COPY_PASTE',NULL,NULL,1,NULL,1,1795567538782,1795567538782,NULL,NULL);
CREATE TABLE jwk_material (
    jwk_id INTEGER PRIMARY KEY REFERENCES jwk (id),
    public_key TEXT,                         -- JSON; NULL for a symmetric key
    private_key TEXT                         -- JSON of the whole key; NULL when there is no private half
) STRICT;
INSERT INTO "jwk_material" VALUES(2,'{"crv":"P-256","kid":"ec-1","kty":"EC","x":"uJGSik0jkJNlN1LP-XOFHyaefgmzOKYt9vXfpwpvrks","y":"iYbTBJmXm2x0Jz0lkGyzTsJ-PcaOtjZXjxWcTtofRfw"}','{"crv":"P-256","d":"ZZdwJTg2lAoUcXPLRNDZbgtXkeZRd6EbnfKxjPC50Yk","kid":"ec-1","kty":"EC","x":"uJGSik0jkJNlN1LP-XOFHyaefgmzOKYt9vXfpwpvrks","y":"iYbTBJmXm2x0Jz0lkGyzTsJ-PcaOtjZXjxWcTtofRfw"}');
INSERT INTO "jwk_material" VALUES(3,'{"e":"AQAB","kid":"rsa-1","kty":"RSA","n":"s33GUUvevs_B8SWFhmnoxMdny03EX9YIxd1kL738Cnc0jpZplIveUivatwKF1ywjchufgDAzqlv9KJttFRz64qc8xyhOg6jpWhSuzxA25qiULt3tTVudC20DzCG1GgXK-ISgACuK91CdRSYEetTd9aq3LBYBKyel9kAZZy9OM1acxUHYxFEVkxUr2k23Jm4g6JamM66q0eQN7WLpq7cVSEUO6O7yNysdy0lSIL7t4JX_Al4nGhJOWT67A5RJ_ajwME39pSEPzgZWpDsO70CSzmjlk_u8v01wWNXwc99hKILANzpylh5KLXJDSnzgJ52JQ4QfSAyMfoCll9YTesagRw"}','{"d":"Mec9NSsf8fM3W8Fv31Ag3F0IeZjUiUSryb9k9HUg1xQPc7lT_23n0PbKZ2l3Jrzp2fbeILjGFI5g02JrMJyPEGco2cJWGfrjbh0kAQPkD7s8_87KBGD9R8j2blHM1UBZD0FobsOsblhmcWxBgJkgYQYmyUYQ6xup484sgejAGDt79x42caTe84YHyNaOThyj2a1NcBPOO868hO2LZPB1dbL4QpI8AqNPFoQdb5PL-hj1y5ToB1GOEHmXYMki3j0k2IkFhLvXra4HcemVmVCEfq2meWrpTt3Le6HSGyPViP8Wji-FAiZe45wTX1sRMBsi_RVX8ay6Elp0FYzNkrjtCQ","dp":"kHx9H5GUrwiQA84aMbrvi4l_OrnI8TDqFCd9v2PdqvVqJw1EBewlLsGNhD40h1-3gKcGwttIDhFlCiDf1Cpbk6VikhOthj5QVeu2vsN21T8goMm8ofRby8Ul6_tDR2kZkmp6jpsLz2bu2A6EpyzcpZsA7F8eXwyX94EeMxbLXa0","dq":"a-KsTAje-tWWv5zhcwYJQErK_-U4t4w0fnQfkseuEtp7eQGcKMqJIi9lB4d0xOp-FATndibIqIpbizO9PL_L6LbU43j6-zNLzTHQR6U4Ggb3xiLg7PIqLhWIYYzoMzU4WDfJftgj6ZmFqb9uLbZiou_jCYriPWu8_5_Cm28goik","e":"AQAB","kid":"rsa-1","kty":"RSA","n":"s33GUUvevs_B8SWFhmnoxMdny03EX9YIxd1kL738Cnc0jpZplIveUivatwKF1ywjchufgDAzqlv9KJttFRz64qc8xyhOg6jpWhSuzxA25qiULt3tTVudC20DzCG1GgXK-ISgACuK91CdRSYEetTd9aq3LBYBKyel9kAZZy9OM1acxUHYxFEVkxUr2k23Jm4g6JamM66q0eQN7WLpq7cVSEUO6O7yNysdy0lSIL7t4JX_Al4nGhJOWT67A5RJ_ajwME39pSEPzgZWpDsO70CSzmjlk_u8v01wWNXwc99hKILANzpylh5KLXJDSnzgJ52JQ4QfSAyMfoCll9YTesagRw","p":"5mIFLrFJdi-BHf8qVvSihunuaZC70UYKRWTsrCnJaCuuNiI5vqcQsp9y7OCGxIUuZ2hFuFYR3xkerZwu6zkjRxjXGdZEZl59EWCoFTC6ggLzlHzNHKtXiOsx-KhpWfpZySP4CM3ze9NLRS5hkoOXuhcV9Rzt6euKLx5Ra0WWK3s","q":"x3MYuzeN_F1P-ph-3ZQzSf295mFDRBrVzXu3xxb0taM8WmQvKK0Y606iw3HMLoAwDh4nKYobz-XqsY444SwDH5PVnMMVTfbzmNxSghy9T9GuJU-Ht-xovdXJbZ3FrjSvM9YgxoPEkNCMwUhQoN5sPpWzQsiF-W2nQiOwpR-drqU","qi":"dkBmoD2bbW7LpXxoXijNQLV6l_Qylf5bN6BXDOQuLCtPPcF3ZLa1ai26jD_mUXxMqOMUo9d71phbxQ0kqklZh8jIVAIE0ecO_8Ugq_ZVz8cSGijq1RkpCYU4-uupuKizSWo478CaY4EQRC3b99ug7aJgO6Gz3RiAd3ytzcy-j08"}');
INSERT INTO "jwk_material" VALUES(4,'{"crv":"Ed25519","kid":"okp-1","kty":"OKP","x":"pRvS6BRfMOjRvXb9E512qWgS5aenan_T21r2gyVVyOE"}','{"crv":"Ed25519","d":"6jecZ63D7JdCnYfSDvu2eWAlTPMcENbNr57NdCsn3S8","kid":"okp-1","kty":"OKP","x":"pRvS6BRfMOjRvXb9E512qWgS5aenan_T21r2gyVVyOE"}');
INSERT INTO "jwk_material" VALUES(5,NULL,'{"k":"Q8zTrg1b7IQxnHNdojbYaGcTOSd5AJpxcWj6OQebJJk","kid":"oct-1","kty":"oct"}');
INSERT INTO "jwk_material" VALUES(6,'{"crv":"P-256","kid":"pub-1","kty":"EC","x":"kLHta5OCrB8GeikiqqcwXOAa9oRLD_Dodf1rM3SZSiY","y":"QAFOJWeyyqDnCf7npPPcd4XHyCoozcs_9afTfezE5yo"}',NULL);
INSERT INTO "jwk_material" VALUES(7,'{"crv":"P-256","kid":"new-1","kty":"EC","x":"r66Z2TN7O7UYxZXMmQxBuaqIqP6S_RcETl7i-XhA9_s","y":"qrzZyaAaB7PNSJsw_grRZSxydOc-54qGFXesR6pU1BQ"}','{"crv":"P-256","d":"0rb5r3XKXDXwhTT7uXZNWl2pvzaMlG7saQ9i9obSWKY","kid":"new-1","kty":"EC","x":"r66Z2TN7O7UYxZXMmQxBuaqIqP6S_RcETl7i-XhA9_s","y":"qrzZyaAaB7PNSJsw_grRZSxydOc-54qGFXesR6pU1BQ"}');
INSERT INTO "jwk_material" VALUES(8,'{"kty":"EC","crv":"P-256","x":"JQVMg17fqvnbmzb986FsFlh9SNoOMJ6CvyzqQcwXkyg","y":"iTS8HqPaQynszeCDusAci9Vq_MYhFmAgoMDEwDMh-8c","use":"sig","kid":"sig-1795567538646","nbf":1795567538,"exp":1827103538}','{"kty":"EC","crv":"P-256","x":"JQVMg17fqvnbmzb986FsFlh9SNoOMJ6CvyzqQcwXkyg","y":"iTS8HqPaQynszeCDusAci9Vq_MYhFmAgoMDEwDMh-8c","d":"VEjrvXEtjtLifZppZo8ysjgCdDyi3t8oJtJ4AdBBEH8","use":"sig","kid":"sig-1795567538646","nbf":1795567538,"exp":1827103538}');
INSERT INTO "jwk_material" VALUES(9,'{"kty":"EC","crv":"P-256","x":"bJr-pZoEzZV63k277lBTipC2snrblPcSlEuL2Uhouug","y":"hWg5kssFeVx4EMp3rowos2v9_2oCXv3RUkfusE8ZpXs","kid":"Sbk32inCcMAjlT3ray84pk71d3Kd7TRr8dQKz94fh0k","nbf":1795481138,"exp":4949081138,"x5c":["MIIBSTCB8KADAgECAhQFomq/02+efq6Zm3yfw/IkWPgKmzAKBggqhkjOPQQDAjARMQ8wDQYDVQQDDAZzaWduZXIwIBcNMjYxMTI0MDA0NTM4WhgPMjEyNjEwMzEwMDQ1MzhaMBExDzANBgNVBAMMBnNpZ25lcjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABGya/qWaBM2Vet5Nu+5QU4qQtrJ625T3EpRLi9lIaLrohWg5kssFeVx4EMp3rowos2v9/2oCXv3RUkfusE8ZpXujJDAiMA8GA1UdEQQIMAaHBH8AAAEwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiAgEyo85t5vqG4QZb7GPHqLcDX9bvCk2WAqv3c92sWoewIhANHAT37DyP3bjnkijAho6Rcwe5LKooiqamUnH5vlbpZC"],"x5t#S256":"ogw3WjixwtE7oEG_DfJv2VmjUl9KGKUI6yXWa7fuMmU"}',NULL);
INSERT INTO "jwk_material" VALUES(10,'{"kty":"EC","crv":"P-256","x":"bJr-pZoEzZV63k277lBTipC2snrblPcSlEuL2Uhouug","y":"hWg5kssFeVx4EMp3rowos2v9_2oCXv3RUkfusE8ZpXs","kid":"Sbk32inCcMAjlT3ray84pk71d3Kd7TRr8dQKz94fh0k"}','{"kty":"EC","crv":"P-256","x":"bJr-pZoEzZV63k277lBTipC2snrblPcSlEuL2Uhouug","y":"hWg5kssFeVx4EMp3rowos2v9_2oCXv3RUkfusE8ZpXs","d":"4w6dhCN0xAKBQIJ1JMTRZ0sv2MEMSMNUqgQfYmQFV3Y","kid":"Sbk32inCcMAjlT3ray84pk71d3Kd7TRr8dQKz94fh0k"}');
INSERT INTO "jwk_material" VALUES(11,'{"kty":"EC","crv":"P-256","x":"bJr-pZoEzZV63k277lBTipC2snrblPcSlEuL2Uhouug","y":"hWg5kssFeVx4EMp3rowos2v9_2oCXv3RUkfusE8ZpXs","kid":"Sbk32inCcMAjlT3ray84pk71d3Kd7TRr8dQKz94fh0k","nbf":1795481138,"exp":4949081138,"x5c":["MIIBSTCB8KADAgECAhQFomq/02+efq6Zm3yfw/IkWPgKmzAKBggqhkjOPQQDAjARMQ8wDQYDVQQDDAZzaWduZXIwIBcNMjYxMTI0MDA0NTM4WhgPMjEyNjEwMzEwMDQ1MzhaMBExDzANBgNVBAMMBnNpZ25lcjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABGya/qWaBM2Vet5Nu+5QU4qQtrJ625T3EpRLi9lIaLrohWg5kssFeVx4EMp3rowos2v9/2oCXv3RUkfusE8ZpXujJDAiMA8GA1UdEQQIMAaHBH8AAAEwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiAgEyo85t5vqG4QZb7GPHqLcDX9bvCk2WAqv3c92sWoewIhANHAT37DyP3bjnkijAho6Rcwe5LKooiqamUnH5vlbpZC"],"x5t#S256":"ogw3WjixwtE7oEG_DfJv2VmjUl9KGKUI6yXWa7fuMmU"}','{"kty":"EC","crv":"P-256","x":"bJr-pZoEzZV63k277lBTipC2snrblPcSlEuL2Uhouug","y":"hWg5kssFeVx4EMp3rowos2v9_2oCXv3RUkfusE8ZpXs","d":"4w6dhCN0xAKBQIJ1JMTRZ0sv2MEMSMNUqgQfYmQFV3Y","kid":"Sbk32inCcMAjlT3ray84pk71d3Kd7TRr8dQKz94fh0k","nbf":1795481138,"exp":4949081138,"x5c":["MIIBSTCB8KADAgECAhQFomq/02+efq6Zm3yfw/IkWPgKmzAKBggqhkjOPQQDAjARMQ8wDQYDVQQDDAZzaWduZXIwIBcNMjYxMTI0MDA0NTM4WhgPMjEyNjEwMzEwMDQ1MzhaMBExDzANBgNVBAMMBnNpZ25lcjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABGya/qWaBM2Vet5Nu+5QU4qQtrJ625T3EpRLi9lIaLrohWg5kssFeVx4EMp3rowos2v9/2oCXv3RUkfusE8ZpXujJDAiMA8GA1UdEQQIMAaHBH8AAAEwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiAgEyo85t5vqG4QZb7GPHqLcDX9bvCk2WAqv3c92sWoewIhANHAT37DyP3bjnkijAho6Rcwe5LKooiqamUnH5vlbpZC"],"x5t#S256":"ogw3WjixwtE7oEG_DfJv2VmjUl9KGKUI6yXWa7fuMmU"}');
INSERT INTO "jwk_material" VALUES(13,'{"crv":"P-256","kid":"late-1","kty":"EC","x":"VqoC0K75sRMVONXdmOUWzw1FgurX9XC5PVqcb0j7sQM","y":"sJG70DkDV0VMljG9PfGwYRAloIGPMvQq_TbzO31OGlU"}','{"crv":"P-256","d":"1BvLwuPlZ6-ZWQGai06ZA-R-Oc1DxNlRM283Qg6f3Zc","kid":"late-1","kty":"EC","x":"VqoC0K75sRMVONXdmOUWzw1FgurX9XC5PVqcb0j7sQM","y":"sJG70DkDV0VMljG9PfGwYRAloIGPMvQq_TbzO31OGlU"}');
CREATE TABLE jwk_origin (
    jwk_id INTEGER PRIMARY KEY REFERENCES jwk (id),
    attached_version INTEGER NOT NULL,       -- of the JWK: tells one attachment from a later one
    source_id INTEGER NOT NULL REFERENCES source (id),
    environment_id INTEGER REFERENCES environment (id), -- NULL: the only one, or any of a certificate
    use_type TEXT,
    algorithm TEXT,
    alias TEXT                               -- of the keystore's entry
) STRICT;
INSERT INTO "jwk_origin" VALUES(9,1,1,NULL,NULL,NULL,NULL);
INSERT INTO "jwk_origin" VALUES(10,1,2,1,NULL,NULL,NULL);
INSERT INTO "jwk_origin" VALUES(11,1,3,NULL,NULL,NULL,'signing');
CREATE TABLE jwk_retiring (
    jwk_id INTEGER NOT NULL REFERENCES jwk (id),
    version INTEGER NOT NULL,                -- of the JWK, with the rotation
    public_key TEXT NOT NULL,                -- JSON
    kid TEXT,
    until INTEGER NOT NULL,                  -- whole seconds, as replicas are told it
    PRIMARY KEY (jwk_id, version)
) STRICT, WITHOUT ROWID;
INSERT INTO "jwk_retiring" VALUES(7,2,'{"crv":"P-256","kid":"old-1","kty":"EC","x":"9I-U7Iuxcub_QCyH885449SzBossNCT3qcVh_QExDyA","y":"TQSnCH2ch_5HBmfpwhDdblWKJmmi-6P8UIyvKwImm1M"}','old-1',4102444800000);
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
INSERT INTO "outbox" VALUES(18,2,'01a2102a-5164-7af1-87dc-80caf7bebacf','01a2102a-525b-709b-b550-6a115d3c115a','jwk.updated.v1','projects/MyProject/jwks/ec',1795567538778,'00-5b39fca246d8c654c8a84918138d3478-b3b7dbe98634cd37-00','{"operation":"update","deploymentId":"01a2102a-525b-7060-b189-f6da152b43b4","epoch":1,"version":2,"sequence":18,"project":{"id":"01a2102a-5156-7721-b43e-4d7098f88e54","name":"MyProject"},"jwk":{"id":"01a2102a-5164-7af1-87dc-80caf7bebacf","name":"ec","description":"Changed while there was no broker","type":"EC","kid":"ec-1","publicKey":{"crv":"P-256","kid":"ec-1","kty":"EC","x":"uJGSik0jkJNlN1LP-XOFHyaefgmzOKYt9vXfpwpvrks","y":"iYbTBJmXm2x0Jz0lkGyzTsJ-PcaOtjZXjxWcTtofRfw"},"retiring":[]},"actor":"alice","time":"2026-11-25T00:45:38.778Z"}');
INSERT INTO "outbox" VALUES(19,1,'01a2102a-525e-732f-87f5-3b7b42391868','01a2102a-525e-7407-ad60-c7244ae5ddb0','jwk.created.v1','projects/MyProject/jwks/late',1795567538782,'00-5d9ccf01799d8ece6356b59c944a2526-d754bad829b5bcc6-00','{"operation":"create","deploymentId":"01a2102a-525e-73e2-a44e-63783598afb9","epoch":1,"version":1,"sequence":19,"project":{"id":"01a2102a-5156-7721-b43e-4d7098f88e54","name":"MyProject"},"jwk":{"id":"01a2102a-525e-732f-87f5-3b7b42391868","name":"late","description":null,"type":"EC","kid":"late-1","publicKey":{"crv":"P-256","kid":"late-1","kty":"EC","x":"VqoC0K75sRMVONXdmOUWzw1FgurX9XC5PVqcb0j7sQM","y":"sJG70DkDV0VMljG9PfGwYRAloIGPMvQq_TbzO31OGlU"},"retiring":[]},"actor":"alice","time":"2026-11-25T00:45:38.782Z"}');
CREATE TABLE project (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;
INSERT INTO "project" VALUES(1,'01a2102a-511c-7871-8c5f-7978b1b91934','probe-4dd79775',1795567538460);
INSERT INTO "project" VALUES(2,'01a2102a-5156-7721-b43e-4d7098f88e54','MyProject',1795567538518);
INSERT INTO "project" VALUES(3,'01a2102a-5160-7f22-b06c-5a31dcebeacc','Other',1795567538528);
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
INSERT INTO "source" VALUES(1,'01a2102a-51e4-7090-b0df-2bff10c05e43',2,0,'a-certificate',NULL,NULL,NULL,1,1,1795567538660,1795567538660);
INSERT INTO "source" VALUES(2,'01a2102a-51e8-75a8-a70a-86553efac622',2,1,'a-key',NULL,NULL,'EC',1,1,1795567538664,1795567538664);
INSERT INTO "source" VALUES(3,'01a2102a-51fb-7ba4-9990-00e21fdefb95',2,2,'a-keystore',NULL,NULL,NULL,1,1,1795567538683,1795567538683);
CREATE TABLE source_material (
    source_id INTEGER NOT NULL REFERENCES source (id) ON DELETE CASCADE,
    environment_id INTEGER NOT NULL REFERENCES environment (id),
    type TEXT,                               -- of a keystore: PKCS12 or JKS
    public_material TEXT,                    -- a certificate's PEM, a key's public half
    private_material TEXT,                   -- a key's private half, a keystore's file: never shown
    password TEXT,                           -- of a keystore: never shown
    details TEXT NOT NULL,                   -- JSON: what is told of it, nothing secret
    PRIMARY KEY (source_id, environment_id)
) STRICT;
INSERT INTO "source_material" VALUES(1,1,NULL,'-----BEGIN CERTIFICATE-----
MIIBSTCB8KADAgECAhQFomq/02+efq6Zm3yfw/IkWPgKmzAKBggqhkjOPQQDAjAR
MQ8wDQYDVQQDDAZzaWduZXIwIBcNMjYxMTI0MDA0NTM4WhgPMjEyNjEwMzEwMDQ1
MzhaMBExDzANBgNVBAMMBnNpZ25lcjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IA
BGya/qWaBM2Vet5Nu+5QU4qQtrJ625T3EpRLi9lIaLrohWg5kssFeVx4EMp3rowo
s2v9/2oCXv3RUkfusE8ZpXujJDAiMA8GA1UdEQQIMAaHBH8AAAEwDwYDVR0TAQH/
BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiAgEyo85t5vqG4QZb7GPHqLcDX9bvCk
2WAqv3c92sWoewIhANHAT37DyP3bjnkijAho6Rcwe5LKooiqamUnH5vlbpZC
-----END CERTIFICATE-----
',NULL,NULL,'{"subject":"CN=signer","issuer":"CN=signer","serialNumber":"05A26ABFD36F9E7EAE999B7C9FC3F22458F80A9B","notBeforeTime":"2026-11-24T00:45:38.000Z","expirationTime":"2126-10-31T00:45:38.000Z","type":"EC","thumbprint":"ogw3WjixwtE7oEG_DfJv2VmjUl9KGKUI6yXWa7fuMmU","chainLength":1}');
INSERT INTO "source_material" VALUES(2,1,NULL,'LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0KTUZrd0V3WUhLb1pJemowQ0FRWUlLb1pJemowREFRY0RRZ0FFYkpyK3Bab0V6WlY2M2syNzdsQlRpcEMyc25yYgpsUGNTbEV1TDJVaG91dWlGYURtU3l3VjVYSGdReW5ldWpDaXphLzMvYWdKZS9kRlNSKzZ3VHhtbGV3PT0KLS0tLS1FTkQgUFVCTElDIEtFWS0tLS0tCg==','LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1JR0hBZ0VBTUJNR0J5cUdTTTQ5QWdFR0NDcUdTTTQ5QXdFSEJHMHdhd0lCQVFRZzR3NmRoQ04weEFLQlFJSjEKSk1UUlowc3YyTUVNU01OVXFnUWZZbVFGVjNhaFJBTkNBQVJzbXY2bG1nVE5sWHJlVGJ2dVVGT0trTGF5ZXR1VQo5eEtVUzR2WlNHaTY2SVZvT1pMTEJYbGNlQkRLZDY2TUtMTnIvZjlxQWw3OTBWSkg3ckJQR2FWNwotLS0tLUVORCBQUklWQVRFIEtFWS0tLS0tCg==',NULL,'{"type":"EC","curve":"P-256","size":256,"hasPrivateKey":true,"thumbprint":"Sbk32inCcMAjlT3ray84pk71d3Kd7TRr8dQKz94fh0k"}');
INSERT INTO "source_material" VALUES(2,2,NULL,'LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0KTUZrd0V3WUhLb1pJemowQ0FRWUlLb1pJemowREFRY0RRZ0FFYkpyK3Bab0V6WlY2M2syNzdsQlRpcEMyc25yYgpsUGNTbEV1TDJVaG91dWlGYURtU3l3VjVYSGdReW5ldWpDaXphLzMvYWdKZS9kRlNSKzZ3VHhtbGV3PT0KLS0tLS1FTkQgUFVCTElDIEtFWS0tLS0tCg==','LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1JR0hBZ0VBTUJNR0J5cUdTTTQ5QWdFR0NDcUdTTTQ5QXdFSEJHMHdhd0lCQVFRZzR3NmRoQ04weEFLQlFJSjEKSk1UUlowc3YyTUVNU01OVXFnUWZZbVFGVjNhaFJBTkNBQVJzbXY2bG1nVE5sWHJlVGJ2dVVGT0trTGF5ZXR1VQo5eEtVUzR2WlNHaTY2SVZvT1pMTEJYbGNlQkRLZDY2TUtMTnIvZjlxQWw3OTBWSkg3ckJQR2FWNwotLS0tLUVORCBQUklWQVRFIEtFWS0tLS0tCg==',NULL,'{"type":"EC","curve":"P-256","size":256,"hasPrivateKey":true,"thumbprint":"Sbk32inCcMAjlT3ray84pk71d3Kd7TRr8dQKz94fh0k"}');
INSERT INTO "source_material" VALUES(3,1,'PKCS12',NULL,'MIIEKwIBAzCCA+EGCSqGSIb3DQEHAaCCA9IEggPOMIIDyjCCAloGCSqGSIb3DQEHBqCCAkswggJHAgEAMIICQAYJKoZIhvcNAQcBMF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAkBBCAcTRsiE8mo4DIx3neULclAgJOIDAMBggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQV0QNdy/DSfiHtGCq1s2R/YCCAdB3E445e+igKzIoa93vQGJzqtm9/AXBtZWznd+6BXDIIi63DMR5z+lIln82DngmAoCEEj/lRlwyU5cDUPYhnI26AYfYSmptmZgT8VqSTFJMbbwqhvv+9ieT0/h0esuyK08Retv4WYaMb80ms+kD/3ho0hcF0SmEuyyexUWwbIcCaCtEKie5S73mztRMeVByA6QNt2b4aDgLigdOaX2+gYTt8NuqIZdIq6w2b9+FgrLfmS6ZVDWbvwa42YBJt7vb0bgrBsrLnsyOwxDwk25ridGbezPRvRl1mfOMiOcjAcdJHeDKmLuDN6WGWhjnCuCRJTETzlJvGVYyl7B7GkWZQ0hQDyhknQwiXd3Z/r8mE/73XKADYd58qIw/DsWqGCKNFu2qgckXbxueupwBs2y65/dMU6UqrvRdOgWk7Gjvace+itoG/hrI513khlZFD7W+57jq2ufwNPd+x6PyUE//EmeSHgPA+ZRCoBbOHaIrVxh17mnfKUZlINClbszGmxq0bByHoYttajCl8qmKR+XNUk4WlZO0W5D1cEzBbhkxZoE8ajv2zOfXTTYH3HZG93/PEVUjofjofaP62ROAlxaTrkrpiAyLbudN+c6OqDZxiH6iaDCCAWgGCSqGSIb3DQEHAaCCAVkEggFVMIIBUTCCAU0GCyqGSIb3DQEMCgECoIH3MIH0MF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAkBBA/ONlXuCdXPW6jMFPypgOBAgJOIDAMBggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQzujsfWoLJ0IXMUYN51TMcQSBkEU9D+7sYQG2Mj7a8V2gMGk0AVnFyejofBgGzHx1ikrQIfCUPPK3s6ABCwFBl6OvGw8+WJHxJdSzZiqmObQ6RtGv+ECcUoICuUtucaHmMfRtUo1akKHaolj75L9RSJM9bRzabSW00OPg+oNmRTkEzF9pG18RqHVMVbd4X6DlTZGfuyDy6LYB7kQ1l2ZlSen36jFEMB0GCSqGSIb3DQEJFDEQHg4AcwBpAGcAbgBpAG4AZzAjBgkqhkiG9w0BCRUxFgQUO+SwWM0p6PVBRgEJ/67nlCSGT1UwQTAxMA0GCWCGSAFlAwQCAQUABCBpeLBdEil9tc4W6bZTFfNidB58UShFP1ApHutVRBSAkgQIhIs/R4rY+GwCAggA','keystore-password-canary','[{"aliasName":"signing","hasPrivateKey":true}]');
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
) STRICT;
INSERT INTO "store" VALUES(1,'01a2102a-4eac-7abd-b83e-ea17856e87c6',1,19,4,NULL,0,0,1795567537836);
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
INSERT INTO "token" VALUES(1,'01a2102a-4ecf-7da7-b712-162243e1b054',X'3F8CAADCC5308A4A66013BC4A962705547FBCEDDFFF5CD28A71C160138B5A28E','alice',3,1,1795567537871,NULL,NULL,NULL);
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
CREATE INDEX deployment_jwk ON deployment (jwk_id, id);
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
INSERT INTO "sqlite_sequence" VALUES('environment',2);
INSERT INTO "sqlite_sequence" VALUES('token',1);
INSERT INTO "sqlite_sequence" VALUES('client',1);
INSERT INTO "sqlite_sequence" VALUES('project',3);
INSERT INTO "sqlite_sequence" VALUES('jwk',13);
INSERT INTO "sqlite_sequence" VALUES('source',3);
COMMIT;
