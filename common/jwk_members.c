/* The members of a JWK that are not its material: as many as the event around it can carry, and nothing private among them. */
#include <string.h>
#include <strings.h>

#include "common/jwk_internal.h"

/* The registered private members and the types that they belong to: to none that is supported, 0. */
static const struct private_member {
    const char *name;
    unsigned types;
} private_members[] = {
    {"d", 1U << JWK_RSA | 1U << JWK_EC | 1U << JWK_OKP},
    {"p", 1U << JWK_RSA},
    {"q", 1U << JWK_RSA},
    {"dp", 1U << JWK_RSA},
    {"dq", 1U << JWK_RSA},
    {"qi", 1U << JWK_RSA},
    {"oth", 1U << JWK_RSA},
    {"k", 1U << JWK_OCT},
    {"priv", 0},
};
enum { PRIVATE_MEMBER_COUNT = sizeof private_members / sizeof private_members[0] };

/* Also of a name in capitals, which no reader takes for the member that it means. */
static const struct private_member *find_private(const char *name, size_t length) {
    for (size_t i = 0; i < PRIVATE_MEMBER_COUNT; i++) {
        if (strlen(private_members[i].name) == length && strncasecmp(private_members[i].name, name, length) == 0)
            return &private_members[i];
    }
    return NULL;
}

bool jwk_member_is_private(const char *name, size_t length) {
    const struct private_member *found = find_private(name, length);
    return found && memcmp(found->name, name, length) == 0;
}

/* A stray private member would be kept as an unknown one, and its owner would believe that it is nowhere shown. */
static int check_member(const char *name, enum jwk_type type, struct error *error) {
    const struct private_member *found = find_private(name, strlen(name));
    if (!found)
        return 0;
    if (!(found->types & 1U << type))
        return error_set(error, ERROR_INVALID, "Member \"%s\" does not belong to %s", name, jwk_type_phrase(type));
    if (strcmp(found->name, name) != 0)
        return error_set(error, ERROR_INVALID,
                         "Member \"%s\" must be written \"%s\": the names of a JWK's members are case-sensitive", name,
                         found->name);
    return 0;
}

/* Whether it is a private JWK, which somebody has put into another. */
static bool is_private_key(const cJSON *value) {
    const cJSON *member;
    if (!cJSON_IsObject(value) || !cJSON_GetObjectItemCaseSensitive(value, "kty"))
        return false;
    cJSON_ArrayForEach (member, value) {
        if (find_private(member->string, strlen(member->string)))
            return true;
    }
    return false;
}

struct walk {
    const char *name; /* of the member whose inside is looked at */
    int values;       /* that there may be yet */
};

/* A value and all that is inside of it, levels deep at most. */
static int check_value(struct walk *walk, const cJSON *value, int levels, struct error *error) {
    char shown[JSON_SHOWN_SIZE];
    if (levels == 0)
        return error_set(error, ERROR_INVALID, "Member \"%s\" is nested too deep: a JWK can have %d levels",
                         json_shown(walk->name, shown), JWK_DEPTH_MAX);
    if (walk->values-- == 0)
        return error_set(error, ERROR_INVALID, "A JWK can have at most %d values, those inside of its members counted",
                         JWK_VALUES_MAX);
    if (is_private_key(value))
        return error_set(error, ERROR_INVALID, "Member \"%s\" has a private key inside, which would be shown",
                         json_shown(walk->name, shown));
    const cJSON *inside;
    cJSON_ArrayForEach (inside, value) {
        if (check_value(walk, inside, levels - 1, error))
            return -1;
    }
    return 0;
}

int jwk_members_check(const cJSON *object, enum jwk_type type, struct error *error) {
    const cJSON *member;
    struct walk walk = {.values = JWK_VALUES_MAX};
    cJSON_ArrayForEach (member, object) {
        walk.name = member->string;
        if (check_member(walk.name, type, error) || check_value(&walk, member, JWK_DEPTH_MAX, error))
            return -1;
    }
    return 0;
}
