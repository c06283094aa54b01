/* The embedded development broker: librdkafka's mock cluster in the foreground. */
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/address_file.h"
#include "common/kafka.h"
#include "common/log.h"
#include "settings.h"

/* librdkafka makes its mock cluster in a client, and warns (CONFWARN) that this one knows no broker: there is nothing that it
 * would ask one for. */
static void forward_log(const rd_kafka_t *client, int level, const char *facility, const char *text) {
    (void)client;
    enum log_level ours = level <= 3 ? LOG_LEVEL_WARNING : level <= 6 ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG;
    if (strcmp(facility, "CONFWARN") != 0)
        log_write(ours, "broker", "facility", facility, "text", text, NULL);
}

static int make_topic(rd_kafka_mock_cluster_t *cluster, const char *name, int partitions) {
    rd_kafka_resp_err_t result = rd_kafka_mock_topic_create(cluster, name, partitions, 1);
    if (result)
        log_error("topic can not be made", "topic", name, "reason", rd_kafka_err2str(result));
    return result ? -1 : 0;
}

int broker_run(void *context, char **operands, int count) {
    (void)operands, (void)count;
    const struct settings *settings = context;
    struct error error;
    /* Blocked before any thread starts, so that sigwait() below is the one that gets them. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    char text[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, forward_log);
    rd_kafka_conf_set(conf, "client.id", "jwk-api-broker", text, sizeof text);
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (!client) {
        log_error("broker can not start", "reason", text);
        rd_kafka_conf_destroy(conf);
        return 1;
    }
    int status = 1;
    struct kafka_topics topics;
    kafka_topics_name(settings->topic_prefix, &topics);
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(client, 1);
    if (!cluster) {
        log_error("broker can not start", "reason", "no port or no memory");
    } else if (make_topic(cluster, topics.events, (int)settings->partitions) == 0 && make_topic(cluster, topics.acks, 1) == 0 &&
               make_topic(cluster, topics.workers, 1) == 0 && make_topic(cluster, topics.audit, 1) == 0) {
        const char *address = rd_kafka_mock_cluster_bootstraps(cluster);
        log_info("development broker listens", "address", address);
        if (settings->address_file && address_file_write(settings->address_file, address, &error)) {
            log_error("address file can not be written", "reason", error.message);
        } else {
            int signal_number;
            sigwait(&signals, &signal_number);
            status = 0;
        }
    }
    if (cluster)
        rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(client);
    return status;
}
