"""Asks an emulator of EC2, STS and Route 53 the questions that tagalong depends on, and compares with AWS's guides.

    .venv/bin/python localstack/fidelity.py --endpoint URL --kind {sandbox,localstack,moto}

The sandbox has to answer all of them as AWS does. LocalStack does not: what it gets wrong is in KNOWN at the foot of
this file, and the run fails when it gets anything else wrong, or one of those in another way, or right.

LocalStack has to be fresh; its instances and zones are made here. The sandbox is started with the state that
`fidelity.py --print-sandbox-state` prints. Nothing here was compared with AWS itself: a check's docstring is a reading
of the guide that it names, and where a guide names no error code, it is the one that users of the service report.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from botocore.exceptions import ClientError

from seed import HOSTS, REGION, TAG, Fleet, Host, client, seed

CHECKS = {}

# one server is down: found by its tag, but not among the running ones
FLEET = replace(Fleet(), hosts=(*HOSTS, Host("dns-old", "dns", "us-east-1b", "2.54")))
DNS = "dns-a dns-b dns-c dns-old"
ALL = f"{DNS} web-1 web-2 web-3"

INSTANCES = "EC2 API Reference, DescribeInstances"
ERRORS = "EC2 API Reference, Error codes"
FILTERS = "EC2 User Guide, Find your Amazon EC2 resources (filters)"
TAGS = "EC2 User Guide, Tag your Amazon EC2 resources"
LIFE_CYCLE = "EC2 User Guide, Stop and start Amazon EC2 instances"
IDENTITY = "STS API Reference, GetCallerIdentity"
SIGNING = "EC2, STS and Route 53 API Reference, Common errors"
CHANGE = "Route 53 API Reference, ChangeResourceRecordSets"
LIST = "Route 53 API Reference, ListResourceRecordSets"
STATUS = "Route 53 API Reference, GetChange"
ZONES = "Route 53 API Reference, GetHostedZone, ListHostedZonesByName, ListHostedZonesByVPC"
NAMES = "Route 53 Developer Guide, DNS domain name format"
TYPES = "Route 53 Developer Guide, Supported DNS record types"
ROUTING = "Route 53 Developer Guide, Choosing a routing policy"
QUOTAS = "Route 53 Developer Guide, Quotas"


def check(guide, expect):
    """Registers a check: its docstring is what the guide says, `expect` what the function returns if that is so."""

    def register(function):
        function.guide, function.expect = guide, expect
        CHECKS[function.__name__.replace("_", " ")] = function
        return function

    return register


# --- EC2: instances ---------------------------------------------------------------------------------------------------


@check(FILTERS, expect=DNS)
def instances_by_tag(aws):
    """The filter `tag:<key>` finds the resources with that key and value; the key may hold a colon itself."""
    return aws.instances({f"tag:{TAG}": ["corp.internal"]})


@check(FILTERS, expect=DNS)
def instances_by_tag_key(aws):
    """The filter `tag-key` finds the resources with that key, whatever the value."""
    return aws.instances({"tag-key": [TAG]})


@check(FILTERS, expect="dns-a dns-b dns-c")
def running_instances_by_tag(aws):
    """A resource has to match all filters."""
    return aws.instances({f"tag:{TAG}": ["corp.internal"], "instance-state-name": ["running"]})


@check(FILTERS, expect=DNS)
def instances_in_either_state(aws):
    """Of the values of one filter, any may match."""
    return aws.instances({f"tag:{TAG}": ["corp.internal"], "instance-state-name": ["running", "stopped"]})


@check(INSTANCES, expect=f"{ALL}; none")
def instances_by_vpc(aws):
    """The filter `vpc-id` finds the instances of a VPC."""
    return outcome(aws.instances({"vpc-id": [aws.vpc]}), aws.instances({"vpc-id": ["vpc-0fedcba9876543210"]}))


@check(FILTERS, expect=f"{DNS}; web-1 web-2 web-3")
def instances_by_wildcard(aws):
    """`*` stands for any number of characters, `?` for one."""
    return outcome(aws.instances({"tag:Name": ["dns-*"]}), aws.instances({"tag:Name": ["web-?"]}))


@check(FILTERS, expect="none")
def instances_in_another_case(aws):
    """The values of filters are case-sensitive."""
    return aws.instances({"tag:Name": ["DNS-A"]})


@check(ERRORS, expect="InvalidParameterValue")
def instances_by_an_unknown_filter(aws):
    """A filter that the action does not have is an invalid parameter."""
    return aws.instances({"favourite-colour": ["green"]})


@check(INSTANCES, expect=f"up to 5, and more; {ALL}")
def instances_in_pages(aws):
    """MaxResults bounds a page; NextToken leads to the next one, and is absent on the last."""
    sizes, names, token = [], [], {}
    while len(sizes) < 10:
        page = aws.ec2.describe_instances(MaxResults=5, **token)
        found = [name_of(i) for r in page["Reservations"] for i in r["Instances"]]
        sizes.append(len(found))
        names += found
        if not page.get("NextToken"):
            break
        token = {"NextToken": page["NextToken"]}
    first = "up to 5, and more" if sizes[0] <= 5 and len(sizes) > 1 else f"pages of {sizes}"
    return outcome(first, " ".join(sorted(names)))


@check(INSTANCES, expect="InvalidParameterValue")
def instances_in_pages_of_four(aws):
    """MaxResults is between 5 and 1000."""
    return attempt(aws.ec2.describe_instances, MaxResults=4)


@check(INSTANCES, expect="InvalidParameterCombination")
def named_instances_in_pages(aws):
    """MaxResults can't stand beside instance ids."""
    return attempt(aws.ec2.describe_instances, MaxResults=5, InstanceIds=[aws.ids["dns-a"]])


@check(ERRORS, expect="InvalidInstanceID.NotFound")
def an_unknown_instance(aws):
    """An id that no instance has is not found."""
    return attempt(aws.ec2.describe_instances, InstanceIds=["i-0123456789abcdef0"])


@check(ERRORS, expect="InvalidInstanceID.Malformed")
def a_malformed_instance_id(aws):
    """An id has to have the form of one."""
    return attempt(aws.ec2.describe_instances, InstanceIds=["dns-a"])


@check(INSTANCES, expect="10.20.1.53 us-east-1a running, interface 10.20.1.53")
def what_an_instance_says_of_itself(aws):
    """Private address, Availability Zone and state are where the guide has them, the address on an interface too."""
    instance = aws.instance("dns-a")
    interfaces = [interface.get("PrivateIpAddress") for interface in instance.get("NetworkInterfaces", [])]
    where = instance["Placement"]["AvailabilityZone"]
    return f"{instance['PrivateIpAddress']} {where} {instance['State']['Name']}, interface {' '.join(interfaces)}"


@check(LIFE_CYCLE, expect="10.20.2.54 stopped")
def a_stopped_instance_keeps_its_address(aws):
    """When an instance is stopped it keeps its private addresses."""
    instance = aws.instance("dns-old")
    return f"{instance.get('PrivateIpAddress')} {instance['State']['Name']}"


# --- EC2: tags --------------------------------------------------------------------------------------------------------


@check(TAGS, expect=f"instance Name=dns-a, instance {TAG}=corp.internal")
def tags_by_resource(aws):
    """DescribeTags filters by `resource-id`."""
    return aws.tags({"resource-id": [aws.ids["dns-a"]]})


@check(TAGS, expect=DNS)
def tags_by_key_and_value(aws):
    """DescribeTags filters by `resource-type`, `key` and `value`."""
    filters = listed({"resource-type": ["instance"], "key": [TAG], "value": ["corp.*"]})
    found = {tag["ResourceId"] for tag in aws.ec2.describe_tags(Filters=filters)["Tags"]}
    return " ".join(sorted(name for name, id in aws.ids.items() if id in found))


@check(TAGS, expect="up to 5, and more; 11 tags, none twice")
def tags_in_pages(aws):
    """MaxResults and NextToken work for DescribeTags too."""
    filters, sizes, tags, token = listed({"resource-type": ["instance"]}), [], set(), {}
    while len(sizes) < 10:
        page = aws.ec2.describe_tags(Filters=filters, MaxResults=5, **token)
        sizes.append(len(page["Tags"]))
        tags |= {(tag["ResourceId"], tag["Key"]) for tag in page["Tags"]}
        if not page.get("NextToken"):
            break
        token = {"NextToken": page["NextToken"]}
    first = "up to 5, and more" if sizes[0] <= 5 and len(sizes) > 1 else f"pages of {sizes}"
    return outcome(first, f"{len(tags)} tags, {'none' if len(tags) == sum(sizes) else 'some'} twice")


@check(TAGS, expect="accepted; corp.example; accepted; absent")
def create_and_delete_a_tag(aws):
    """CreateTags adds a tag or overwrites its value, DeleteTags takes it away; DescribeInstances shows both."""
    web = [aws.ids["web-3"]]
    attempt(aws.ec2.create_tags, Resources=web, Tags=[{"Key": TAG, "Value": "corp.internal"}])
    made = attempt(aws.ec2.create_tags, Resources=web, Tags=[{"Key": TAG, "Value": "corp.example"}])
    value = tags_of(aws.instance("web-3")).get(TAG, "absent")
    deleted = attempt(aws.ec2.delete_tags, Resources=web, Tags=[{"Key": TAG}])
    return outcome(made, value, deleted, tags_of(aws.instance("web-3")).get(TAG, "absent"))


@check(ERRORS, expect="InvalidInstanceID.NotFound")
def tag_an_unknown_instance(aws):
    """Only what exists can be tagged."""
    return attempt(aws.ec2.create_tags, Resources=["i-0123456789abcdef0"], Tags=[{"Key": "a", "Value": "b"}])


@check(TAGS, expect="InvalidParameterValue")
def tag_with_the_prefix_of_aws(aws):
    """The prefix `aws:` is reserved."""
    return attempt(aws.ec2.create_tags, Resources=[aws.ids["web-3"]], Tags=[{"Key": "aws:owner", "Value": "b"}])


# --- who asks ---------------------------------------------------------------------------------------------------------


@check(IDENTITY, expect="an account of 12 digits, an ARN of it, a user id")
def caller_identity(aws):
    """Says the account, the ARN and the unique id of who signed the call."""
    caller = aws.sts.get_caller_identity()
    account, arn = caller["Account"], caller["Arn"].split(":")
    is_right = len(account) == 12 and account.isdigit() and arn[0] == "arn" and arn[4] == account
    return "an account of 12 digits, an ARN of it, a user id" if is_right and caller["UserId"] else str(caller)


@check(SIGNING, expect="AuthFailure; InvalidClientTokenId; InvalidClientTokenId")
def an_unknown_access_key(aws):
    """A key that does not exist is refused; EC2 has its own word for it."""
    ec2, sts, route53 = (aws.another(service, "AKIAIOSFODNN7EXAMPLE") for service in ("ec2", "sts", "route53"))
    return outcome(
        attempt(ec2.describe_instances), attempt(sts.get_caller_identity), attempt(route53.get_hosted_zone, Id=aws.zone)
    )


# --- Route 53: one change ---------------------------------------------------------------------------------------------


@check(CHANGE, expect="accepted; A 60 10.0.0.1")
def create(aws):
    """CREATE makes a record set."""
    return outcome(aws.change(("CREATE", a("create", "10.0.0.1"))), aws.at("create"))


@check(CHANGE, expect="InvalidChangeBatch; A 60 10.0.0.1")
def create_what_exists(aws):
    """CREATE makes a set that is not there yet; there is one set of a name and type."""
    aws.change(("CREATE", a("exists", "10.0.0.1")))
    return outcome(aws.change(("CREATE", a("exists", "10.0.0.2"))), aws.at("exists"))


@check(CHANGE, expect="InvalidChangeBatch; A 60 10.0.0.1")
def create_exactly_what_exists(aws):
    """The same holds when nothing would change."""
    aws.change(("CREATE", a("exactly", "10.0.0.1")))
    return outcome(aws.change(("CREATE", a("exactly", "10.0.0.1"))), aws.at("exactly"))


@check(NAMES, expect="InvalidChangeBatch; A 60 10.0.0.1")
def create_what_exists_in_upper_case(aws):
    """Upper and lower case are the same in a name."""
    aws.change(("CREATE", a("case", "10.0.0.1")))
    return outcome(aws.change(("CREATE", a("CASE", "10.0.0.2"))), aws.at("case"))


@check(NAMES, expect="accepted; upper.corp.internal.")
def create_in_upper_case(aws):
    """Names are kept in lower case."""
    result = aws.change(("CREATE", a("UPPER", "10.0.0.1")))
    return outcome(result, " ".join(s["Name"] for s in aws.sets("upper")) or "nothing")


@check(CHANGE, expect="accepted; nothing")
def delete(aws):
    """DELETE with all the values of a set takes it away."""
    aws.change(("CREATE", a("delete", "10.0.0.1", "10.0.0.2")))
    return outcome(aws.change(("DELETE", a("delete", "10.0.0.1", "10.0.0.2"))), aws.at("delete"))


@check(CHANGE, expect="InvalidChangeBatch; A 60 10.0.0.1")
def delete_with_another_value(aws):
    """To delete a set, give all its values."""
    aws.change(("CREATE", a("value", "10.0.0.1")))
    return outcome(aws.change(("DELETE", a("value", "10.0.0.2"))), aws.at("value"))


@check(CHANGE, expect="InvalidChangeBatch; A 60 10.0.0.1,10.0.0.2")
def delete_with_some_of_the_values(aws):
    """All of them: no value is taken out of a set this way."""
    aws.change(("CREATE", a("some", "10.0.0.1", "10.0.0.2")))
    return outcome(aws.change(("DELETE", a("some", "10.0.0.1"))), aws.at("some"))


@check(CHANGE, expect="InvalidChangeBatch; A 60 10.0.0.1")
def delete_with_another_ttl(aws):
    """The TTL is one of the values to give."""
    aws.change(("CREATE", a("ttl", "10.0.0.1")))
    return outcome(aws.change(("DELETE", a("ttl", "10.0.0.1", ttl=300))), aws.at("ttl"))


@check(CHANGE, expect="InvalidChangeBatch")
def delete_what_does_not_exist(aws):
    """DELETE takes away a set that is there."""
    return aws.change(("DELETE", a("absent", "10.0.0.1")))


@check(CHANGE, expect="accepted; A 60 10.0.0.1")
def upsert_what_does_not_exist(aws):
    """UPSERT makes a set that is not there."""
    return outcome(aws.change(("UPSERT", a("upsert", "10.0.0.1"))), aws.at("upsert"))


@check(CHANGE, expect="accepted; A 30 10.0.0.2")
def upsert_what_exists(aws):
    """UPSERT gives a set that is there the values of the request."""
    aws.change(("CREATE", a("update", "10.0.0.1")))
    return outcome(aws.change(("UPSERT", a("update", "10.0.0.2", ttl=30))), aws.at("update"))


# --- Route 53: batches ------------------------------------------------------------------------------------------------


@check(CHANGE, expect="accepted; A 60 10.0.0.2")
def swap(aws):
    """A batch is a transaction: DELETE of what was read and CREATE of what is wanted is a compare-and-swap."""
    aws.change(("CREATE", a("swap", "10.0.0.1")))
    return outcome(aws.swap(a("swap", "10.0.0.1"), a("swap", "10.0.0.2")), aws.at("swap"))


@check(CHANGE, expect="accepted; A 60 10.0.0.1")
def swap_for_the_same(aws):
    """DELETE and CREATE of one and the same set change nothing, and fail unless it stands: a guard for the rest."""
    aws.change(("CREATE", a("guard", "10.0.0.1")))
    return outcome(aws.swap(a("guard", "10.0.0.1"), a("guard", "10.0.0.1")), aws.at("guard"))


@check(CHANGE, expect="accepted; A 60 10.0.0.1")
def create_again(aws):
    """What was deleted may be created again, with the same values."""
    aws.change(("CREATE", a("again", "10.0.0.1")), ("CREATE", a("again-and-later", "10.0.0.1")))
    aws.change(("DELETE", a("again", "10.0.0.1")))
    return outcome(aws.change(("CREATE", a("again", "10.0.0.1"))), aws.at("again"))


@check(CHANGE, expect="InvalidChangeBatch; A 60 10.0.0.2")
def stale_swap(aws):
    """It fails when somebody else was faster: his value stays."""
    aws.change(("CREATE", a("stale", "10.0.0.1")))
    aws.swap(a("stale", "10.0.0.1"), a("stale", "10.0.0.2"))
    return outcome(aws.swap(a("stale", "10.0.0.1"), a("stale", "10.0.0.3")), aws.at("stale"))


@check(CHANGE, expect="InvalidChangeBatch; A 60 10.0.0.1,10.0.0.2")
def stale_swap_of_a_shared_set(aws):
    """So of two hosts that add themselves to one set at the same time, one learns that it has to read again."""
    aws.change(("CREATE", a("shared", "10.0.0.1")))
    aws.swap(a("shared", "10.0.0.1"), a("shared", "10.0.0.1", "10.0.0.2"))
    return outcome(aws.swap(a("shared", "10.0.0.1"), a("shared", "10.0.0.1", "10.0.0.3")), aws.at("shared"))


@check(CHANGE, expect="InvalidChangeBatch; A 60 10.0.0.2")
def swap_after_an_upsert(aws):
    """An UPSERT between the reading and the swap is seen as well."""
    aws.change(("CREATE", a("between", "10.0.0.1")))
    aws.change(("UPSERT", a("between", "10.0.0.2")))
    return outcome(aws.swap(a("between", "10.0.0.1"), a("between", "10.0.0.3")), aws.at("between"))


@check(CHANGE, expect="InvalidChangeBatch; nothing")
def batch_that_fails_at_its_end(aws):
    """All changes of a batch are made, or none."""
    aws.change(("CREATE", a("taken", "10.0.0.1")))
    batch = [("CREATE", a("first", "10.0.0.1")), ("CREATE", a("taken", "10.0.0.2"))]
    return outcome(aws.change(*batch), aws.at("first"))


@check(CHANGE, expect="InvalidChangeBatch; nothing")
def batch_that_fails_at_its_start(aws):
    """In whatever order they come."""
    batch = [("DELETE", a("missing", "10.0.0.1")), ("CREATE", a("second", "10.0.0.1"))]
    return outcome(aws.change(*batch), aws.at("second"))


@check(CHANGE, expect="InvalidChangeBatch; A 60 10.0.0.1")
def delete_twice_in_a_batch(aws):
    """A set can't be deleted more than once in a batch."""
    aws.change(("CREATE", a("twice", "10.0.0.1")))
    batch = [("DELETE", a("twice", "10.0.0.1")), ("DELETE", a("twice", "10.0.0.1"))]
    return outcome(aws.change(*batch), aws.at("twice"))


@check(CHANGE, expect="accepted")
def a_thousand_creates(aws):
    """A batch has up to 1000 ResourceRecord elements."""
    names = [f"many-{number}" for number in range(1000)]
    result = aws.change(*(("CREATE", a(name, "10.0.0.1")) for name in names))
    aws.change(*(("DELETE", a(name, "10.0.0.1")) for name in names))
    return result


@check(CHANGE, expect="InvalidChangeBatch")
def a_thousand_and_one_creates(aws):
    """And no more."""
    return aws.change(*(("CREATE", a(f"more-{number}", "10.0.0.1")) for number in range(1001)))


@check(CHANGE, expect="InvalidChangeBatch")
def six_hundred_upserts(aws):
    """The records of an UPSERT count twice."""
    return aws.change(*(("UPSERT", a(f"upsert-{number}", "10.0.0.1")) for number in range(600)))


@check(CHANGE, expect="InvalidChangeBatch")
def more_than_32000_characters(aws):
    """The values of a batch have up to 32,000 characters together."""
    value = f'"{"x" * 198}"'
    return aws.change(*(("CREATE", a(f"long-{number}", value, kind="TXT")) for number in range(161)))


# --- Route 53: what a set may be --------------------------------------------------------------------------------------


@check(TYPES, expect="InvalidChangeBatch; nothing")
def an_address_that_is_none(aws):
    """The value of an A record is an IPv4 address in dotted decimal notation."""
    return outcome(aws.change(("CREATE", a("bad", "10.0.0.256"))), aws.at("bad"))


@check(TYPES, expect="InvalidChangeBatch; InvalidChangeBatch")
def an_address_of_the_other_family(aws):
    """A holds IPv4 addresses, AAAA IPv6 addresses."""
    return outcome(
        aws.change(("CREATE", a("six", "2001:db8::1"))), aws.change(("CREATE", a("four", "10.0.0.1", kind="AAAA")))
    )


@check(TYPES, expect="InvalidChangeBatch; nothing")
def text_without_quotation_marks(aws):
    """The value of a TXT record is one or more strings in double quotation marks."""
    return outcome(aws.change(("CREATE", a("text", "owner=i-1", kind="TXT"))), aws.at("text"))


@check(TYPES, expect='accepted; TXT 60 "owner=i-1"')
def text_in_quotation_marks(aws):
    """And with them it is kept as it is."""
    return outcome(aws.change(("CREATE", a("quoted", '"owner=i-1"', kind="TXT"))), aws.at("quoted"))


@check(CHANGE, expect="InvalidChangeBatch; nothing")
def one_value_twice(aws):
    """The values of a set are different."""
    return outcome(aws.change(("CREATE", a("double", "10.0.0.1", "10.0.0.1"))), aws.at("double"))


@check(TYPES, expect="InvalidChangeBatch; A 60 10.0.0.1")
def cname_beside_an_address(aws):
    """A name with a CNAME has no other record: no CNAME where an A is."""
    aws.change(("CREATE", a("beside", "10.0.0.1")))
    return outcome(aws.change(("CREATE", a("beside", "web-1.corp.internal.", kind="CNAME"))), aws.at("beside"))


@check(TYPES, expect="InvalidChangeBatch; CNAME 60 web-1.corp.internal.")
def address_beside_a_cname(aws):
    """And no A where a CNAME is."""
    aws.change(("CREATE", a("cname", "web-1.corp.internal.", kind="CNAME")))
    return outcome(aws.change(("CREATE", a("cname", "10.0.0.1"))), aws.at("cname"))


@check(TYPES, expect="accepted; A 60 10.0.0.1")
def address_in_place_of_a_cname(aws):
    """In one batch a CNAME may give way to an A."""
    old = a("gives", "web-1.corp.internal.", kind="CNAME")
    aws.change(("CREATE", old))
    return outcome(aws.swap(old, a("gives", "10.0.0.1")), aws.at("gives"))


@check(TYPES, expect="InvalidChangeBatch")
def cname_at_the_apex(aws):
    """There is no CNAME at the apex of a zone."""
    return aws.change(("CREATE", a("", "web-1.example.com.", kind="CNAME")))


@check(CHANGE, expect="InvalidChangeBatch; InvalidChangeBatch")
def outside_of_the_zone(aws):
    """The names of a zone end in its name, label by label."""
    return outcome(
        aws.change(("CREATE", a("web.corp.example.", "10.0.0.1"))),
        aws.change(("CREATE", a("mycorp.internal.", "10.0.0.1"))),
    )


# --- Route 53: many sets of one name ----------------------------------------------------------------------------------


@check(ROUTING, expect="accepted; A 60 10.0.0.1 of i-1 | A 60 10.0.0.2 of i-2")
def members(aws):
    """Multivalue answer sets share name and type, and differ in their identifier."""
    aws.change(("CREATE", member("members", "i-1", "10.0.0.1")))
    return outcome(aws.change(("CREATE", member("members", "i-2", "10.0.0.2"))), aws.at("members"))


@check(CHANGE, expect="InvalidChangeBatch; A 60 10.0.0.1 of i-1")
def create_a_member_that_exists(aws):
    """The identifier is unique among the sets of a name and type."""
    aws.change(("CREATE", member("same", "i-1", "10.0.0.1")))
    return outcome(aws.change(("CREATE", member("same", "i-1", "10.0.0.2"))), aws.at("same"))


@check(CHANGE, expect="accepted; A 60 10.0.0.2 of i-2")
def delete_a_member(aws):
    """DELETE with an identifier takes away that set and no other of its name."""
    batch = [("CREATE", member("leaving", f"i-{number}", f"10.0.0.{number}")) for number in (1, 2)]
    aws.change(*batch)
    return outcome(aws.change(("DELETE", member("leaving", "i-1", "10.0.0.1"))), aws.at("leaving"))


@check(CHANGE, expect="accepted; A 60 10.0.0.1 of i-1")
def delete_a_member_of_one_of_two_names(aws):
    """And none of another name."""
    for name in ("here", "there"):
        aws.change(("CREATE", member(name, "i-1", "10.0.0.1")))
    return outcome(aws.change(("DELETE", member("here", "i-1", "10.0.0.1"))), aws.at("there"))


@check(CHANGE, expect="InvalidChangeBatch; A 60 10.0.0.2 of i-1")
def stale_swap_of_a_member(aws):
    """A member is compared and swapped like any set."""
    one, two, three = (member("moving", "i-1", f"10.0.0.{number}") for number in (1, 2, 3))
    aws.change(("CREATE", one))
    aws.swap(one, two)
    return outcome(aws.swap(one, three), aws.at("moving"))


@check(ROUTING, expect="InvalidChangeBatch; A 60 10.0.0.1 of i-1")
def simple_beside_multivalue(aws):
    """All sets of a name and type have one routing policy: no simple one beside a multivalue one."""
    aws.change(("CREATE", member("multi", "i-1", "10.0.0.1")))
    return outcome(aws.change(("CREATE", a("multi", "10.0.0.2"))), aws.at("multi"))


@check(ROUTING, expect="InvalidChangeBatch; A 60 10.0.0.1")
def multivalue_beside_simple(aws):
    """Nor the other way round."""
    aws.change(("CREATE", a("simple", "10.0.0.1")))
    return outcome(aws.change(("CREATE", member("simple", "i-1", "10.0.0.2"))), aws.at("simple"))


@check(ROUTING, expect="InvalidChangeBatch; A 60 10.0.0.1 of i-1")
def weighted_beside_multivalue(aws):
    """Nor a weighted one."""
    aws.change(("CREATE", member("mixed", "i-1", "10.0.0.1")))
    weighted = a("mixed", "10.0.0.2", SetIdentifier="i-2", Weight=1)
    return outcome(aws.change(("CREATE", weighted)), aws.at("mixed"))


# --- Route 53: reading ------------------------------------------------------------------------------------------------


@check(LIST, expect="b-2.order b.order a.b.order c.order")
def order_of_a_list(aws):
    """By the labels from right to left, each with its dot, in ASCII: the hyphen comes before the dot."""
    aws.change(*(("CREATE", a(f"{name}.order", "10.0.0.1")) for name in ("a.b", "b", "c", "b-2")))
    return " ".join(name for name, _ in aws.walk("order", items=100))


@check(LIST, expect="a.types A, a.types AAAA, a.types TXT")
def order_of_the_types_of_a_name(aws):
    """The sets of a name come by type."""
    values = {"TXT": '"x"', "AAAA": "2001:db8::1", "A": "10.0.0.1"}
    aws.change(*(("CREATE", a("a.types", value, kind=kind)) for kind, value in values.items()))
    return ", ".join(f"{name} {kind}" for name, kind in aws.walk("types", items=100))


@check(LIST, expect="a.pages A, a.pages TXT, b.pages A, c.pages A, d.pages A; IsTruncated, next b.pages A")
def list_in_pages(aws):
    """MaxItems bounds a page; NextRecordName and NextRecordType are where the next one starts, that set included."""
    aws.change(*(("CREATE", a(f"{name}.pages", "10.0.0.1")) for name in "dcba"))
    aws.change(("CREATE", a("a.pages", '"x"', kind="TXT")))
    walked = ", ".join(f"{name} {kind}" for name, kind in aws.walk("pages", items=2))
    page = aws.route53.list_resource_record_sets(
        HostedZoneId=aws.zone, StartRecordName="a.pages.corp.internal.", StartRecordType="A", MaxItems="2"
    )
    more = "IsTruncated" if page["IsTruncated"] else "complete"
    return outcome(walked, f"{more}, next {aws.short(page.get('NextRecordName', '-'))} {page.get('NextRecordType')}")


@check(LIST, expect="i-1 i-2 i-3; next i-3")
def list_members_in_pages(aws):
    """Within the sets of a name and type, NextRecordIdentifier is where the next page starts."""
    aws.change(*(("CREATE", member("group", f"i-{number}", f"10.0.0.{number}")) for number in (1, 2, 3)))
    start = {"StartRecordName": "group.corp.internal.", "StartRecordType": "A"}
    first = aws.route53.list_resource_record_sets(HostedZoneId=aws.zone, MaxItems="2", **start)
    identifier = first.get("NextRecordIdentifier")
    rest = {"ResourceRecordSets": []}
    if identifier:
        start["StartRecordIdentifier"] = identifier
        rest = aws.route53.list_resource_record_sets(HostedZoneId=aws.zone, MaxItems="1", **start)
    sets = first["ResourceRecordSets"] + rest["ResourceRecordSets"]
    return outcome(" ".join(s.get("SetIdentifier", "-") for s in sets), f"next {identifier}")


@check(LIST, expect="InvalidInput")
def list_from_a_type_without_a_name(aws):
    """A type to start at needs a name."""
    return attempt(aws.route53.list_resource_record_sets, HostedZoneId=aws.zone, StartRecordType="A")


@check(ZONES, expect="corp.internal. private; its VPC; NS SOA")
def the_zone(aws):
    """A zone made for a VPC is private; every zone has its NS and SOA."""
    answer = aws.route53.get_hosted_zone(Id=aws.zone)
    zone = answer["HostedZone"]
    vpcs = [vpc["VPCId"] for vpc in answer.get("VPCs", [])]
    first = aws.route53.list_resource_record_sets(HostedZoneId=aws.zone, MaxItems="10")["ResourceRecordSets"]
    own = {s["Type"] for s in first if s["Name"] == "corp.internal."}
    return outcome(
        f"{zone['Name']} {'private' if zone['Config']['PrivateZone'] else 'public'}",
        "its VPC" if vpcs == [aws.vpc] else str(vpcs),
        " ".join(sorted(own & {"NS", "SOA"})),
    )


@check(ZONES, expect="both zones; corp.internal. first, then by name")
def finding_the_zone(aws):
    """By VPC, all that are associated with it; by name, from that name on, in the order of reversed labels."""
    by_vpc = aws.route53.list_hosted_zones_by_vpc(VPCId=aws.vpc, VPCRegion=REGION)["HostedZoneSummaries"]
    found = {zone["HostedZoneId"] for zone in by_vpc}
    by_name = aws.route53.list_hosted_zones_by_name(DNSName="corp.internal")["HostedZones"]
    names = [zone["Name"] for zone in by_name]
    is_sorted = names == sorted(names, key=lambda name: name.rstrip(".").split(".")[::-1])
    return outcome(
        "both zones" if found == {aws.zone, aws.reverse_zone} else f"{len(found)} zones",
        f"{names[0] if names else 'nothing'} first, {'then by name' if is_sorted else 'in no order'}",
    )


@check(CHANGE, expect="NoSuchHostedZone; NoSuchHostedZone; NoSuchHostedZone")
def an_unknown_zone(aws):
    """A zone that is not there can be neither changed, nor listed, nor described."""
    zone = "Z0123456789ABCDEFGHIJ"
    return outcome(
        aws.change(("CREATE", a("x", "10.0.0.1")), zone=zone),
        attempt(aws.route53.list_resource_record_sets, HostedZoneId=zone),
        attempt(aws.route53.get_hosted_zone, Id=zone),
    )


@check(STATUS, expect="PENDING; INSYNC")
def status_of_a_change(aws):
    """A change is PENDING at first, and INSYNC when all name servers have it."""
    batch = {"Changes": [as_change("CREATE", a("status", "10.0.0.1"), aws)]}
    info = aws.route53.change_resource_record_sets(HostedZoneId=aws.zone, ChangeBatch=batch)["ChangeInfo"]
    first = last = info["Status"]
    deadline = time.monotonic() + 10
    while last != "INSYNC" and time.monotonic() < deadline:
        last = aws.route53.get_change(Id=info["Id"])["ChangeInfo"]["Status"]
        time.sleep(0.1)
    return outcome(first, last)


@check(STATUS, expect="NoSuchChange")
def status_of_an_unknown_change(aws):
    """A change has to be known."""
    return attempt(aws.route53.get_change, Id="C0123456789ABCDEFGHIJ")


@check(QUOTAS, expect="Throttling")
def too_many_requests(aws):
    """Route 53 takes five requests a second from an account."""
    unpaced = aws.another("route53", "test")
    with ThreadPoolExecutor(8) as threads:
        results = threads.map(lambda _: attempt(unpaced.get_hosted_zone, Id=aws.zone), range(40))
    return " and ".join(sorted(set(results) - {"accepted"})) or "never refused"


# --- what the checks are written in -----------------------------------------------------------------------------------


def a(name, *values, kind="A", ttl=60, **more):
    """A record set; a name without a final dot is inside the zone, and the empty one is its apex."""
    return {"Name": name, "Type": kind, "TTL": ttl, "ResourceRecords": [{"Value": v} for v in values], **more}


def member(name, identifier, address):
    return a(name, address, SetIdentifier=identifier, MultiValueAnswer=True)


def outcome(*parts):
    return "; ".join(parts)


def attempt(call, **arguments):
    """`accepted`, or the code of the error."""
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "accepted"


def listed(filters):
    return [{"Name": name, "Values": values} for name, values in filters.items()]


def tags_of(instance):
    return {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}


def name_of(instance):
    return tags_of(instance)["Name"]


def as_change(action, record, aws):
    name = record["Name"]
    full = name if name.endswith(".") else f"{name}.{aws.zone_name}".lstrip(".")
    return {"Action": action, "ResourceRecordSet": {**record, "Name": full}}


class Account:
    """The emulator, with what is in it."""

    zone_name = f"{FLEET.zone}."

    def __init__(self, endpoint, vpc, ids, zone, reverse_zone, pause):
        self.endpoint, self.vpc, self.ids, self.zone, self.reverse_zone = endpoint, vpc, ids, zone, reverse_zone
        self.ec2, self.sts, self.route53 = (client(service, endpoint) for service in ("ec2", "sts", "route53"))
        self.route53.meta.events.register("before-send.route-53", lambda **_: time.sleep(pause))

    def another(self, service, access_key):
        return client(service, self.endpoint, access_key)

    def instances(self, filters):
        """The names of those that match, or the code of the error."""
        try:
            reservations = self.ec2.describe_instances(Filters=listed(filters))["Reservations"]
        except ClientError as error:
            return error.response["Error"]["Code"]
        return " ".join(sorted(name_of(i) for r in reservations for i in r["Instances"])) or "none"

    def instance(self, name):
        return self.ec2.describe_instances(InstanceIds=[self.ids[name]])["Reservations"][0]["Instances"][0]

    def tags(self, filters):
        tags = self.ec2.describe_tags(Filters=listed(filters))["Tags"]
        return ", ".join(sorted(f"{tag['ResourceType']} {tag['Key']}={tag['Value']}" for tag in tags))

    def change(self, *changes, zone=None):
        batch = {"Changes": [as_change(action, record, self) for action, record in changes]}
        return attempt(self.route53.change_resource_record_sets, HostedZoneId=zone or self.zone, ChangeBatch=batch)

    def swap(self, before, after):
        return self.change(("DELETE", before), ("CREATE", after))

    def sets(self, name):
        full = f"{name}.{self.zone_name}"
        page = self.route53.list_resource_record_sets(HostedZoneId=self.zone, StartRecordName=full, MaxItems="20")
        return [s for s in page["ResourceRecordSets"] if s["Name"].lower() == full]

    def at(self, name):
        """All sets of the name, as `TYPE TTL VALUE,VALUE [of IDENTIFIER]`."""
        found = []
        for s in self.sets(name):
            values = ",".join(sorted(record["Value"] for record in s["ResourceRecords"]))
            identifier = f" of {s['SetIdentifier']}" if "SetIdentifier" in s else ""
            found.append(f"{s['Type']} {s['TTL']} {values}{identifier}")
        return " | ".join(sorted(found)) or "nothing"

    def short(self, name):
        return name.removesuffix(f".{self.zone_name}")

    def walk(self, parent, items):
        """Name and type of every set under the parent, `items` at a time."""
        start = {"StartRecordName": f"{parent}.{self.zone_name}"}
        for _ in range(20):
            page = self.route53.list_resource_record_sets(HostedZoneId=self.zone, MaxItems=str(items), **start)
            for s in page["ResourceRecordSets"]:
                if not s["Name"].endswith(f".{parent}.{self.zone_name}"):
                    return
                yield self.short(s["Name"]), s["Type"]
            if not page["IsTruncated"]:
                return
            start = {"StartRecordName": page["NextRecordName"], "StartRecordType": page["NextRecordType"]}


# --- running them -----------------------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", default="http://127.0.0.1:4566")
    parser.add_argument("--kind", choices=KNOWN)
    parser.add_argument("--only", help="the checks whose names contain this")
    parser.add_argument("--print-sandbox-state", action="store_true")
    options = parser.parse_args()
    if options.print_sandbox_state:
        print(json.dumps(sandbox_state(), indent=2))
        return
    if not options.kind:
        parser.error("--kind is needed")
    known = KNOWN[options.kind]
    if strays := [name for name in known if name not in CHECKS or known[name] == CHECKS[name].expect]:
        sys.exit(f"no check, or no difference, but in KNOWN: {', '.join(strays)}")
    aws = prepare(options.endpoint, options.kind)
    names = [name for name in CHECKS if (options.only or "") in name]
    passed = [run(name, known.get(name), aws) for name in names]
    print(f"{len(names)} questions, {len(known.keys() & set(names))} of them known to be answered unlike AWS")
    print(f"{passed.count(True)} passed, {passed.count(False)} failed")
    sys.exit(not passed or not all(passed))


def run(name, known, aws):
    function = CHECKS[name]
    try:
        got = function(aws)
    except Exception as error:  # an emulator may break in any way; that is a finding, not the end of the run
        got = type(error).__name__
    if got == (known or function.expect):
        print(f"ok      {name}" if known is None else f"known   {name}: {got}   (AWS: {function.expect})", flush=True)
        return True
    print(f"FAILED  {name}: {function.__doc__} ({function.guide})")
    print(f"        got:    {got}")
    if known is not None:
        print(f"        known:  {known}   <- the table KNOWN is out of date")
    print(f"        in AWS: {function.expect}", flush=True)
    return False


def prepare(endpoint, kind):
    if kind == "sandbox":
        ids = {instance["tags"]["Name"]: instance["id"] for instance in sandbox_state()["instances"]}
        # a little under five requests a second
        return Account(endpoint, SANDBOX_VPC, ids, *SANDBOX_ZONES, pause=0.21)
    made = seed(endpoint, FLEET)
    ids = {name: host["id"] for name, host in made["instances"].items()}
    client("ec2", endpoint).stop_instances(InstanceIds=[ids["dns-old"]])
    return Account(endpoint, made["vpc_id"], ids, *made["zones"].values(), pause=0)


SANDBOX_VPC = "vpc-0123456789abcdef0"
SANDBOX_ZONES = ("Z0FORWARD0FIDELITY", "Z0REVERSE0FIDELITY")


def sandbox_state():
    """The fleet as a state file of the sandbox."""
    return {
        "instances": [
            {
                "id": f"i-{number:017x}",
                "availability_zone": host.availability_zone,
                "vpc_id": SANDBOX_VPC,
                "state": "stopped" if host.name == "dns-old" else "running",
                "metadata_tags": True,
                "tags": FLEET.tags(host),
                "interfaces": [{"private_ipv4s": [FLEET.address(host)]}],
            }
            for number, host in enumerate(FLEET.hosts, start=1)
        ],
        "zones": [
            {"id": id, "name": name, "vpcs": [{"region": REGION, "id": SANDBOX_VPC}]}
            for id, name in zip(SANDBOX_ZONES, FLEET.zones)
        ],
    }


# What LocalStack 4.14 answers in place of `expect`, as measured.
LOCALSTACK = {
    # EC2 checks little of what it is given, and knows no credentials
    "instances by an unknown filter": "InternalFailure",
    "instances in pages of four": "accepted",
    "a malformed instance id": "InvalidInstanceID.NotFound",
    "tags in pages": "pages of [11]; 11 tags, none twice",
    "tag an unknown instance": "accepted",
    "tag with the prefix of aws": "accepted",
    "an unknown access key": "accepted; accepted; accepted",
    # one name and type can have two sets
    "create what exists": "accepted; A 60 10.0.0.1 | A 60 10.0.0.2",
    "create a member that exists": "accepted; A 60 10.0.0.1 of i-1 | A 60 10.0.0.2 of i-1",
    "simple beside multivalue": "accepted; A 60 10.0.0.1 of i-1 | A 60 10.0.0.2",
    "multivalue beside simple": "accepted; A 60 10.0.0.1 | A 60 10.0.0.2 of i-1",
    "weighted beside multivalue": "accepted; A 60 10.0.0.1 of i-1 | A 60 10.0.0.2 of i-2",
    # upper case is another name
    "create what exists in upper case": "accepted; A 60 10.0.0.1",
    "create in upper case": "accepted; nothing",
    # DELETE has another error, and is compared with all that was ever created: a swap is no compare-and-swap
    "delete with another value": "InvalidInput; A 60 10.0.0.1",
    "delete with some of the values": "InvalidInput; A 60 10.0.0.1,10.0.0.2",
    "delete with another ttl": "InvalidInput; A 60 10.0.0.1",
    "delete what does not exist": "InvalidInput",
    "batch that fails at its start": "InvalidInput; nothing",
    "stale swap": "accepted; A 60 10.0.0.3",
    "stale swap of a shared set": "accepted; A 60 10.0.0.1,10.0.0.3",
    "swap after an upsert": "accepted; A 60 10.0.0.3",
    "stale swap of a member": "accepted; A 60 10.0.0.3 of i-1",
    "delete twice in a batch": "accepted; nothing",
    # CREATE of what was ever created is held against the records before the batch, those of later names included
    "swap for the same": "InvalidChangeBatch; A 60 10.0.0.1",
    "create again": "InvalidChangeBatch; nothing",
    # DELETE of a member is by identifier alone, under every name of the zone
    "delete a member of one of two names": "accepted; nothing",
    # a batch is applied as far as it goes
    "batch that fails at its end": "accepted; A 60 10.0.0.1",
    # values and names are not checked
    "more than 32000 characters": "accepted",
    "an address that is none": "accepted; A 60 10.0.0.256",
    "an address of the other family": "accepted; accepted",
    "text without quotation marks": "accepted; TXT 60 owner=i-1",
    "one value twice": "accepted; A 60 10.0.0.1,10.0.0.1",
    "cname beside an address": "accepted; A 60 10.0.0.1 | CNAME 60 web-1.corp.internal.",
    "address beside a cname": "accepted; A 60 10.0.0.1 | CNAME 60 web-1.corp.internal.",
    "cname at the apex": "accepted",
    "outside of the zone": "InvalidChangeBatch; accepted",
    # lists are sorted by label and have no identifier to go on from
    "order of a list": "b.order b-2.order a.b.order c.order",
    "list members in pages": "i-1 i-2; next None",
    "list from a type without a name": "400",
    # changes are in force at once, any number of them
    "status of a change": "INSYNC; INSYNC",
    "status of an unknown change": "accepted",
    "too many requests": "never refused",
}

# moto 5.2.5, where localstack/setup finds no Python for LocalStack: all of the above but one, and one in its own way.
MOTO = LOCALSTACK | {"instances by an unknown filter": "ResponseParserError"}
del MOTO["list from a type without a name"]

KNOWN = {"sandbox": {}, "localstack": LOCALSTACK, "moto": MOTO}

if __name__ == "__main__":
    main()
