-- The store of jwk-api, version 3: the deployments of a project are a chain, latest first, as those of a JWK are. An index by project
-- was a page more for every change.
ALTER TABLE project ADD COLUMN deployment INTEGER; -- the latest of its JWKs' deployments
ALTER TABLE deployment ADD COLUMN previous_in_project INTEGER; -- NULL: the first
UPDATE deployment SET previous_in_project =
    (SELECT max(older.id) FROM deployment AS older WHERE older.project_id = deployment.project_id AND older.id < deployment.id);
UPDATE project SET deployment = (SELECT max(deployment.id) FROM deployment WHERE project_id = project.id);
DROP INDEX deployment_project;
