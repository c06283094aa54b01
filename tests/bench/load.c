/* An HTTP load generator for the benchmarks: updates of many JWKs, in a closed loop or at a constant rate, answers checked. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "generator.h"

enum { CONNECTIONS_MAX = 12000, TARGETS_MAX = 100000000 };

/* What the answer of an update starts with when every environment has confirmed. */
static const char deployed_text[] = "\"success\":true,\"deploymentResult\":{\"success\":true";

static volatile sig_atomic_t interrupted;

static void interrupt(int signal_number) {
    (void)signal_number;
    interrupted = 1;
}

static void usage(FILE *out) {
    fputs("Usage: load --url HOST:PORT --path PATTERN [options]\n"
          "  --url HOST:PORT        the server\n"
          "  --path PATTERN         %p project, %k key in it, %n request: replaced by their numbers, from 0\n"
          "  --projects N           numbers of projects (1)\n"
          "  --keys N               numbers of keys in each (1)\n"
          "  --first N              number of the first request (0): a sequential load goes on where an earlier one ended\n"
          "  --sequential           visit them in order, not scattered\n"
          "  --method METHOD        (PUT with --body, GET without)\n"
          "  --body PATTERN         sent as application/json\n"
          "  --token TOKEN          sent as Authorization: Bearer; or in the environment variable LOAD_TOKEN\n"
          "  --header 'NAME: VALUE' (any number of times)\n"
          "  --connections N        connections, each with one request under way at most (1)\n"
          "  --rate N               open loop: requests per second; latency counts from when each was due\n"
          "  --duration SECONDS     measured time (5; no limit when --requests is given)\n"
          "  --warm-up SECONDS      time before it that is not measured (0)\n"
          "  --requests N           stop after so many\n"
          "  --timeout SECONDS      for one request (30)\n"
          "  --expect-status N      any other answer is unexpected (any 2xx)\n"
          "  --expect TEXT          so is one whose body does not contain it\n"
          "  --expect-deployed      so is one that does not say that all environments have confirmed\n"
          "  --announce             say on stderr when each connection has a request under way\n"
          "  --json                 print one JSON object\n"
          "Exit status: 0, 1 when an answer was unexpected or missing, 2 when the load could not run.\n",
          out);
}

static _Noreturn void refuse(const char *what) {
    fprintf(stderr, "load: %s\n", what);
    exit(2);
}

static double parse_number(const char *text, const char *name, double maximum) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0 && value <= maximum)) {
        fprintf(stderr, "load: --%s takes a number from 0 to %.0f\n", name, maximum);
        exit(2);
    }
    return value;
}

static void add_header(struct load_plan *plan, const char *header) {
    if (plan->header_count == GENERATOR_HEADERS_MAX)
        refuse("too many headers");
    plan->headers[plan->header_count++] = header;
}

/* Splits HOST:PORT in place. */
static void parse_address(struct load_plan *plan, char *text) {
    if (strncmp(text, "http://", strlen("http://")) == 0)
        text += strlen("http://");
    char *colon = strrchr(text, ':');
    if (!colon)
        refuse("--url takes HOST:PORT");
    *colon = '\0';
    plan->address = text;
    plan->port = colon + 1;
}

static bool parse_arguments(int argc, char **argv, struct load_plan *plan) {
    enum { URL = 256, PATH, PROJECTS, KEYS, FIRST, SEQUENTIAL, METHOD, BODY, TOKEN, HEADER, CONNECTIONS, RATE, DURATION,
           WARM_UP, REQUESTS, TIMEOUT, EXPECT_STATUS, EXPECT, EXPECT_DEPLOYED, ANNOUNCE, JSON, HELP };
    static const struct option options[] = {
        {"url", required_argument, NULL, URL},
        {"path", required_argument, NULL, PATH},
        {"projects", required_argument, NULL, PROJECTS},
        {"keys", required_argument, NULL, KEYS},
        {"first", required_argument, NULL, FIRST},
        {"sequential", no_argument, NULL, SEQUENTIAL},
        {"method", required_argument, NULL, METHOD},
        {"body", required_argument, NULL, BODY},
        {"token", required_argument, NULL, TOKEN},
        {"header", required_argument, NULL, HEADER},
        {"connections", required_argument, NULL, CONNECTIONS},
        {"rate", required_argument, NULL, RATE},
        {"duration", required_argument, NULL, DURATION},
        {"warm-up", required_argument, NULL, WARM_UP},
        {"requests", required_argument, NULL, REQUESTS},
        {"timeout", required_argument, NULL, TIMEOUT},
        {"expect-status", required_argument, NULL, EXPECT_STATUS},
        {"expect", required_argument, NULL, EXPECT},
        {"expect-deployed", no_argument, NULL, EXPECT_DEPLOYED},
        {"announce", no_argument, NULL, ANNOUNCE},
        {"json", no_argument, NULL, JSON},
        {"help", no_argument, NULL, HELP},
        {NULL, 0, NULL, 0},
    };
    static char authorization[4096];
    const char *token = getenv("LOAD_TOKEN");
    bool json = false, has_duration = false;
    *plan = (struct load_plan){.projects = 1, .keys = 1, .connections = 1, .duration_s = 5, .timeout_s = 30};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case URL: parse_address(plan, optarg); break;
        case PATH: plan->path = optarg; break;
        case PROJECTS: plan->projects = (unsigned)parse_number(optarg, "projects", TARGETS_MAX); break;
        case KEYS: plan->keys = (unsigned)parse_number(optarg, "keys", TARGETS_MAX); break;
        case FIRST: plan->first = (uint64_t)parse_number(optarg, "first", 1e12); break;
        case SEQUENTIAL: plan->sequential = true; break;
        case METHOD: plan->method = optarg; break;
        case BODY: plan->body = optarg; break;
        case TOKEN: token = optarg; break;
        case HEADER: add_header(plan, optarg); break;
        case CONNECTIONS: plan->connections = (unsigned)parse_number(optarg, "connections", CONNECTIONS_MAX); break;
        case RATE: plan->rate = parse_number(optarg, "rate", 1e7); break;
        case DURATION: plan->duration_s = parse_number(optarg, "duration", 86400); has_duration = true; break;
        case WARM_UP: plan->warm_up_s = parse_number(optarg, "warm-up", 3600); break;
        case REQUESTS: plan->requests = (uint64_t)parse_number(optarg, "requests", 1e12); break;
        case TIMEOUT: plan->timeout_s = parse_number(optarg, "timeout", 3600); break;
        case EXPECT_STATUS: plan->expected_status = (unsigned)parse_number(optarg, "expect-status", 599); break;
        case EXPECT: plan->expected_text = optarg; break;
        case EXPECT_DEPLOYED: plan->expected_text = deployed_text; break;
        case ANNOUNCE: plan->announce = true; break;
        case JSON: json = true; break;
        case HELP: usage(stdout); exit(0);
        default: usage(stderr); exit(2);
        }
    }
    if (!plan->address || !plan->path || optind != argc) {
        usage(stderr);
        exit(2);
    }
    if (plan->connections == 0 || plan->projects == 0 || plan->keys == 0 || plan->keys > TARGETS_MAX / plan->projects)
        refuse("connections, projects and keys are at least 1, and projects times keys at most 100 million");
    if (plan->requests && !has_duration)
        plan->duration_s = 0;
    if (!plan->requests && plan->duration_s <= 0)
        refuse("--duration or --requests has to end the load");
    if (!plan->method)
        plan->method = plan->body ? "PUT" : "GET";
    if (plan->body)
        add_header(plan, "Content-Type: application/json");
    if (token) {
        if ((size_t)snprintf(authorization, sizeof authorization, "Authorization: Bearer %s", token) >= sizeof authorization)
            refuse("the token is too long");
        add_header(plan, authorization);
    }
    return json;
}

static double rate_of(const struct load_result *result) {
    return result->seconds > 0 ? (double)result->measured / result->seconds : 0;
}

static void report_json(const struct load_plan *plan, const struct load_result *result, double cpu_us) {
    printf("{\"connections\":%u,\"offered_rate\":%.1f,\"seconds\":%.3f,\"measured\":%" PRIu64 ",\"rate\":%.1f,",
           plan->connections, plan->rate, result->seconds, result->measured, rate_of(result));
    histogram_write_json(&result->latency, stdout);
    printf(",\"sent\":%" PRIu64 ",\"answered\":%" PRIu64 ",\"unexpected\":%" PRIu64 ",", result->sent, result->answered,
           result->unexpected);
    printf("\"transport_errors\":%" PRIu64 ",\"timeouts\":%" PRIu64 ",\"unsent\":%" PRIu64 ",\"reconnects\":%" PRIu64 ",",
           result->transport_errors, result->timeouts, result->unsent, result->reconnects);
    printf("\"received_bytes\":%" PRIu64 ",\"cpu_us_per_request\":%.2f,\"statuses\":{", result->received_bytes, cpu_us);
    const char *separator = "";
    for (unsigned status = 0; status < 600; status++) {
        if (result->statuses[status]) {
            printf("%s\"%u\":%" PRIu64, separator, status, result->statuses[status]);
            separator = ",";
        }
    }
    puts("}}");
}

static void report_text(const struct load_plan *plan, const struct load_result *result, double cpu_us) {
    printf("%u connections: %.0f answers/s over %.1f s, %.1f us CPU each\n", plan->connections, rate_of(result),
           result->seconds, cpu_us);
    histogram_write_text(&result->latency, stdout);
    for (unsigned status = 0; status < 600; status++)
        if (result->statuses[status])
            printf("status %u: %" PRIu64 "\n", status, result->statuses[status]);
    printf("%" PRIu64 " unexpected, %" PRIu64 " transport errors (%" PRIu64 " of them time-outs), ", result->unexpected,
           result->transport_errors, result->timeouts);
    printf("%" PRIu64 " never sent, %" PRIu64 " reconnects\n", result->unsent, result->reconnects);
}

int main(int argc, char **argv) {
    struct load_plan plan;
    bool json = parse_arguments(argc, argv, &plan);
    struct rlimit descriptors;
    if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
        descriptors.rlim_cur = descriptors.rlim_max;
        setrlimit(RLIMIT_NOFILE, &descriptors);
    }
    struct sigaction action = {.sa_handler = interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct load_result *result = malloc(sizeof *result);
    if (!result)
        refuse("out of memory");
    char error[GENERATOR_ERROR_BYTES];
    double cpu_before = process_cpu_seconds();
    int status = generator_run(&plan, &interrupted, result, error) == 0 ? 0 : 2;
    if (status) {
        fprintf(stderr, "load: %s\n", error);
    } else {
        double cpu_us = result->answered ? (process_cpu_seconds() - cpu_before) * 1e6 / (double)result->answered : 0;
        if (json)
            report_json(&plan, result, cpu_us);
        else
            report_text(&plan, result, cpu_us);
        if (result->unexpected)
            fprintf(stderr, "load: %" PRIu64 " unexpected answers; the first: %u %s\n", result->unexpected,
                    result->unexpected_status, result->sample);
        status = result->unexpected || result->transport_errors;
    }
    free(result);
    return status;
}
