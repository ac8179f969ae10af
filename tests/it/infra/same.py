#!/usr/bin/env python3
"""same.py REPOSITORY: the Terraform modules make what the CloudFormation templates make, give the same rights, and run the same shell.

Every reference in every *.tf is to something that is declared. What the modules make is worked out here, of the files alone.
Needs python-hcl2==8.1.4 and PyYAML. Where there is a `terraform` program it evaluates the same files too (no provider, no network).
"""
import base64
import functools
import itertools
import json
import operator
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import hcl2
import yaml

HERE = pathlib.Path(sys.argv[1])
CFN, TF = HERE / "infra/cloudformation", HERE / "infra/terraform"
PSEUDO = {"AWS::Partition": "aws", "AWS::Region": "eu-central-1", "AWS::AccountId": "123456789012", "AWS::StackName": "dns",
          "AWS::StackId": "STACK"}
LOCALS = {"partition": PSEUDO["AWS::Partition"], "region": PSEUDO["AWS::Region"], "account": PSEUDO["AWS::AccountId"]}
ZONES = ["zone 0", "zone 1", "zone 2"]
NOTHING = object()
TERRAFORM = shutil.which("terraform")


def snake(name):
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def same(what, got, want):
    assert got == want, f"{what}: Terraform's\n{json.dumps(got, indent=1)}\nis not CloudFormation's\n{json.dumps(want, indent=1)}"


# --- CloudFormation: a resource is `<Name>`, and what is asked of it `<Name>.Attribute`

class Loader(yaml.SafeLoader):
    pass


def tag(loader, suffix, node):
    kinds = {yaml.ScalarNode: loader.construct_scalar, yaml.SequenceNode: lambda n: loader.construct_sequence(n, deep=True),
             yaml.MappingNode: lambda n: loader.construct_mapping(n, deep=True)}
    return {suffix if suffix in ("Ref", "Condition") else "Fn::" + suffix: kinds[type(node)](node)}


Loader.add_multi_constructor("!", tag)


class Template:
    def __init__(self, name, parameters, within=""):
        self.text = yaml.load((CFN / name).read_text(), Loader)
        self.within = within
        defaults = {key: str(it["Default"]) for key, it in self.text["Parameters"].items() if "Default" in it}
        unknown = parameters.keys() - self.text["Parameters"].keys()
        assert not unknown, unknown
        self.values = PSEUDO | defaults | parameters
        for key, it in self.text["Parameters"].items():
            if it["Type"].startswith("AWS::SSM::Parameter::Value<") and key in self.values:
                self.values[key] = f"ssm:{self.values[key]}"
        self.resources = {key: it for key, it in self.text["Resources"].items()
                          if "Condition" not in it or self.condition(it["Condition"])}

    def condition(self, name):
        return self(self.text["Conditions"][name])

    def named(self, name):
        if name in self.values:
            return self.values[name]
        resource, _, attribute = name.partition(".")
        assert resource in self.resources, f"{name}: nothing is called so"
        if attribute.startswith("Outputs."):
            nested = self.nested(resource)
            return nested(nested.text["Outputs"][attribute.removeprefix("Outputs.")]["Value"])
        if attribute == "PrivateIp" and "PrivateIpAddress" in self.resources[resource]["Properties"]:
            return self.properties(resource)["PrivateIpAddress"]
        return f"<{self.within}{resource}>" + (f".{attribute}" if attribute else "")

    def nested(self, resource):
        it = self.properties(resource)
        return Template(it["TemplateURL"], it["Parameters"], f"{self.within}{resource}.")

    def properties(self, resource):
        return self(self.resources[resource].get("Properties", {}))

    def of(self, kind):
        return {name: self.properties(name) for name, it in self.resources.items() if it["Type"] == kind}

    def __call__(self, it):
        if isinstance(it, list):
            return [value for value in map(self, it) if value is not NOTHING]
        if not isinstance(it, dict):
            return it
        if len(it) == 1:
            (key, value), = it.items()
            match key:
                case "Ref":
                    return NOTHING if value == "AWS::NoValue" else self.named(value)
                case "Fn::GetAtt":
                    return self.named(value if isinstance(value, str) else ".".join(value))
                case "Fn::If":
                    return self(value[1] if self.condition(value[0]) else value[2])
                case "Fn::Equals":
                    return self(value[0]) == self(value[1])
                case "Fn::Not":
                    return not self(value[0])
                case "Fn::Select":
                    return self(value[1])[value[0]]
                case "Fn::GetAZs":
                    return ZONES
                case "Fn::Sub":
                    value, more = value if isinstance(value, list) else (value, {})
                    more = {name: self(it) for name, it in more.items()}
                    text = re.sub(r"\$\{([^!}]+)\}", lambda m: more.get(m[1]) or self.named(m[1]), value).replace("${!", "${")
                    return re.sub(r"^\{\{resolve:(ssm:[^:]+)\}\}$", r"\1", text)
                case "Fn::Base64":
                    return self(value)
                case _ if key.startswith("Fn::"):
                    raise NotImplementedError(key)
        return {key: value for key, value in ((key, self(value)) for key, value in it.items()) if value is not NOTHING}

    def statements(self, role):
        return self.properties(role)["Policies"][0]["PolicyDocument"]["Statement"]


# --- Terraform, of which only what these files use is known here: anything else is an error

TOKEN = re.compile(r"""\s*(?:(?P<number>\d+)|(?P<name>[A-Za-z_][\w-]*)|(?P<quote>")|"""
                   r"""(?P<sign>=>|&&|\|\||[=!<>]=|\[\*\]|[-+!<>?:.,=()\[\]{}]))""")
BINARY = {"||": 1, "&&": 2, "==": 3, "!=": 3, "<": 4, ">": 4, "<=": 4, ">=": 4, "+": 5, "-": 5}


class Parser:
    """An expression's tree: tuples, whose first item is its kind."""

    def __init__(self, text):
        self.text, self.at = text, 0

    def peek(self):
        found = TOKEN.match(self.text, self.at)
        assert found or not self.text[self.at:].strip(), f"not understood: {self.text[self.at:]!r}"
        return (found.lastgroup, found[found.lastgroup], found.end()) if found else ("end", "", self.at)

    def next(self, wanted=None):
        kind, text, self.at = self.peek()
        assert wanted in (None, text), f"{wanted!r} wanted at {self.text[:self.at]!r}"
        return kind, text

    def took(self, text):
        is_it = self.peek()[1] == text
        if is_it:
            self.next()
        return is_it

    def whole(self):
        tree = self.conditional()
        self.next("")
        return tree

    def conditional(self):
        tree = self.binary(1)
        if not self.took("?"):
            return tree
        yes = self.conditional()
        self.next(":")
        return ("if", tree, yes, self.conditional())

    def binary(self, least):
        tree = self.unary()
        while BINARY.get(sign := self.peek()[1], 0) >= least:
            self.next()
            tree = ("binary", sign, tree, self.binary(BINARY[sign] + 1))
        return tree

    def unary(self):
        if self.took("!"):
            return ("not", self.unary())
        tree = self.primary()
        while True:
            if self.took("."):
                tree = ("attribute", tree, self.next()[1])
            elif self.took("[*]"):
                tree = ("splat", tree)
            elif self.took("["):
                tree = ("index", tree, self.conditional())
                self.next("]")
            else:
                return tree

    def primary(self):
        kind, text = self.next()
        match kind, text:
            case "number", _:
                return ("literal", int(text))
            case "quote", _:
                return self.string()
            case "name", "true" | "false":
                return ("literal", text == "true")
            case "name", _:
                return ("call", text, *self.items(")")) if self.took("(") else ("name", text)
            case _, "(":
                tree = self.conditional()
                self.next(")")
                return tree
            case _, "[" | "{" if self.took("for"):
                return self.for_each(text)
            case _, "[":
                return ("list", *self.items("]"))
            case _, "{":
                return ("object", *self.items("}", self.pair))
        raise NotImplementedError(self.text[self.at - 1:])

    def items(self, end, item=None):
        found = []
        while not self.took(end):
            found.append((item or self.conditional)())
            self.took(",")
        return found

    def pair(self):
        kind, key = self.next()
        key = ("literal", key) if kind == "name" else self.string()
        assert self.took("=") or self.took(":")
        return key, self.conditional()

    def for_each(self, bracket):
        names = [self.next()[1]]
        while self.took(","):
            names.append(self.next()[1])
        self.next("in")
        of = self.conditional()
        self.next(":")
        key, value = None, self.conditional()
        if bracket == "{":
            self.next("=>")
            key, value = value, self.conditional()
        when = self.conditional() if self.took("if") else ("literal", True)
        self.next("]" if bracket == "[" else "}")
        return ("for", names, of, key, value, when)

    def string(self):
        parts, plain = [], ""
        while (character := self.text[self.at]) != '"':
            self.at += 1
            if character == "\\":
                plain += {"n": "\n", '"': '"', "\\": "\\"}[self.text[self.at]]
                self.at += 1
            elif character == "$" and self.text[self.at] == "{":
                self.at += 1
                parts += [("literal", plain), self.conditional()]
                plain = ""
                # Not `next`, which would take spaces after it too.
                assert self.text[self.at] == "}", self.text[self.at:]
                self.at += 1
            else:
                plain += character
        self.at += 1
        return ("template", *parts, ("literal", plain)) if parts else ("literal", plain)


@functools.cache
def parse(text):
    return Parser(text).whole()


def tree_of(it):
    """The tree of a value as hcl2 gives it."""
    if isinstance(it, dict):
        return ("object", *((tree_of(key if key[:1] in '"$' else json.dumps(key)), tree_of(value)) for key, value in it.items()
                            if not key.startswith("__")))
    if isinstance(it, list):
        return ("list", *map(tree_of, it))
    if not isinstance(it, str):
        return ("literal", it)
    return parse(it if it[:1] == '"' else re.fullmatch(r"\$\{(.*)\}", it, re.S)[1])


# What the provider tells of a resource or data source beside its arguments, and the arguments that are known here.
TOLD = {
    "aws_partition": ["partition"], "aws_region": ["region"], "aws_caller_identity": ["account_id"],
    "aws_ssm_parameter": ["insecure_value"], "aws_availability_zones": ["names"], "aws_iam_role": ["id", "name", "arn"],
    "aws_iam_role_policy": [], "aws_route53_zone": ["zone_id"],
    "aws_iam_instance_profile": ["arn", "name"], "aws_security_group": ["id"], "aws_vpc_security_group_ingress_rule": [],
    "aws_vpc_security_group_egress_rule": [], "aws_launch_template": ["id", "latest_version"], "aws_autoscaling_group": [],
    "aws_vpc": ["id"], "aws_default_security_group": [], "aws_internet_gateway": ["id"], "aws_route_table": ["id"], "aws_subnet": ["id"],
    "aws_route_table_association": [], "aws_instance": ["private_ip"],
}
TAKEN = {
    "aws_partition": "", "aws_region": "", "aws_caller_identity": "", "aws_ssm_parameter": "name",
    "aws_availability_zones": "state filter",
    "aws_iam_role": "name_prefix description assume_role_policy", "aws_iam_role_policy": "name role policy",
    "aws_iam_instance_profile": "name_prefix role", "aws_route53_zone": "name comment force_destroy vpc",
    "aws_security_group": "name_prefix description vpc_id",
    "aws_vpc_security_group_ingress_rule": "security_group_id description ip_protocol from_port to_port cidr_ipv4",
    "aws_vpc_security_group_egress_rule": "security_group_id description ip_protocol cidr_ipv4",
    "aws_launch_template": "name_prefix image_id instance_type vpc_security_group_ids user_data iam_instance_profile metadata_options",
    "aws_autoscaling_group": "name min_size max_size vpc_zone_identifier wait_for_capacity_timeout launch_template "
                             "initial_lifecycle_hook tag instance_refresh",
    "aws_vpc": "cidr_block enable_dns_support enable_dns_hostnames tags", "aws_default_security_group": "vpc_id",
    "aws_internet_gateway": "vpc_id", "aws_route_table": "vpc_id route", "aws_route_table_association": "subnet_id route_table_id",
    "aws_subnet": "vpc_id availability_zone cidr_block map_public_ip_on_launch",
    "aws_instance": "ami instance_type iam_instance_profile subnet_id private_ip vpc_security_group_ids tags "
                    "user_data_replace_on_change user_data metadata_options root_block_device",
}
META = {"for_each", "count", "depends_on", "lifecycle"}
OPERATORS = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge,
             "+": operator.add, "-": operator.sub}
SCOPES = {"each", "count", "path", "self"}


class Thing:
    """A resource or a data source, or one of those that `for_each` and `count` make of it."""

    def __init__(self, module, kind, name, block, key=None, each=None):
        self.module, self.kind, self.name, self.block, self.key, self.each = module, kind, name, block, key, each or {}

    def __str__(self):
        return f"<{self.module.within}{self.kind}.{self.name}{'' if self.key is None else f'[{self.key}]'}>"

    def argument(self, name, default=None):
        return self.module.value(tree_of(self.block[name]), self.each) if name in self.block else default

    def attribute(self, name):
        if name in self.block:
            return self.argument(name)
        assert name in TOLD[self.kind], f"{self}: no {name}"
        match self.kind:
            case "aws_partition" | "aws_region" | "aws_caller_identity":
                return LOCALS[name.removesuffix("_id")]
            case "aws_ssm_parameter":
                return f"ssm:{self.argument('name')}"
            case "aws_availability_zones":
                return ZONES
        return f"{self}.{name}"


@functools.cache
def declared(name):
    """What the files of a module declare; every reference in them is resolved."""
    found = {"variable": {}, "local": {}, "data": {}, "resource": {}, "module": {}, "output": {}}

    def put(kind, key, it):
        assert key not in found[kind], f"{name}: {key} twice"
        found[kind][key] = it

    for file in sorted((TF / name).glob("*.tf")):
        text = hcl2.loads(file.read_text())
        unknown = text.keys() - found.keys() - {"locals", "terraform", "provider", "__comments__"}
        assert not unknown, f"{file}: {unknown}"
        for kind, blocks in text.items():
            for block in blocks:
                match kind:
                    case "variable" | "module" | "output":
                        (key, it), = block.items()
                        put(kind, key.strip('"'), it)
                    case "locals":
                        for key, it in block.items():
                            key.startswith("__") or put("local", key, it)
                    case "data" | "resource":
                        (of, named), = block.items()
                        (key, it), = named.items()
                        of, key = of.strip('"'), key.strip('"')
                        unknown = {key for key in it if not key.startswith("__")} - META - set(TAKEN[of].split())
                        assert not unknown, f"{file}: {of}.{key}: {unknown}"
                        put(kind, (of, key), it)
    for kind in found:
        for key, it in found[kind].items():
            try:
                # Neither a variable's type nor what `ignore_changes` names is a reference.
                apart = {"variable": "type", "data": "lifecycle", "resource": "lifecycle"}.get(kind)
                resolve(found, tree_of({key: it for key, it in it.items() if key != apart} if apart else it), set())
                assert kind != "resource" or ignored(it) <= it.keys(), f"no {ignored(it) - it.keys()}"
            except AssertionError as error:
                raise AssertionError(f"{name}: {kind} {key}: {error}") from None
    return found


def ignored(block):
    """The arguments of a resource that change nothing of what there is."""
    return {name for it in block.get("lifecycle", []) for name in it.get("ignore_changes", [])}


def source_of(module):
    return re.fullmatch(r'"\.\./([\w-]+)"', module["source"])[1]


def resolve(found, tree, known):
    """Refuses a tree with a reference to what is not declared."""
    chain, inner = [], tree
    while isinstance(inner, tuple) and inner and inner[0] in ("attribute", "index", "splat"):
        if inner[0] == "attribute":
            chain.insert(0, inner[2])
        elif inner[0] == "index":
            resolve(found, inner[2], known)
        inner = inner[1]
    if isinstance(inner, tuple) and inner and inner[0] == "name":
        match [inner[1], *chain]:
            case [name, *_] if name in known or name in SCOPES:
                return
            case ["var", name, *_]:
                assert name in found["variable"], f"var.{name} is not declared"
            case ["local", name, *_]:
                assert name in found["local"], f"local.{name} is not declared"
            case ["module", name, output]:
                assert name in found["module"], f"module.{name} is not declared"
                assert output in declared(source_of(found["module"][name]))["output"], f"module.{name} has no output {output}"
            case ["data", kind, name, *more] | [kind, name, *more]:
                kinds = "data" if inner[1] == "data" else "resource"
                assert (kind, name) in found[kinds], f"{kind}.{name} is not declared"
                told = set(TOLD[kind]) | set(TAKEN[kind].split())
                assert not more or more[0] in told, f"{kind}.{name} has no {more[0]}"
            case other:
                raise AssertionError(f"{'.'.join(other)} is nothing")
        return
    if tree is not inner:
        return resolve(found, inner, known)
    if isinstance(tree, tuple) and tree and tree[0] == "for":
        _, names, of, *rest = tree
        resolve(found, of, known)
        for it in rest:
            resolve(found, it, known | set(names))
    elif isinstance(tree, tuple | list):
        for it in tree:
            resolve(found, it, known)


class Module:
    def __init__(self, name, variables, within="", stand_ins=None):
        self.name, self.within, self.declared, self.local_values = name, within, declared(name), dict(stand_ins or {})
        asked = self.declared["variable"]
        unknown = variables.keys() - asked.keys()
        assert not unknown, f"{name}: no variables {unknown}"
        self.variables = {key: self.value(tree_of(it["default"]), {}) for key, it in asked.items() if "default" in it} | variables

    def local(self, name):
        if name not in self.local_values:
            self.local_values[name] = self.value(tree_of(self.declared["local"][name]), {})
        return self.local_values[name]

    def child(self, name):
        block = self.declared["module"][name]
        arguments = {key: self.value(tree_of(it), {}) for key, it in block.items() if not key.startswith("__") and key != "source"}
        child = Module(source_of(block), arguments, f"{self.within}{name}.")
        assert child.variables.keys() == child.declared["variable"].keys(), f"module.{name} is not given everything"
        return child

    def output(self, name):
        return self.value(tree_of(self.declared["output"][name]["value"]), {})

    def things(self, kinds, kind, name):
        """What a block makes: one thing, or a list or an object of them."""
        block = self.declared[kinds][kind, name]
        if "count" in block:
            return [Thing(self, kind, name, block, number) for number in range(self.value(tree_of(block["count"]), {}))]
        if "for_each" not in block:
            return Thing(self, kind, name, block)
        each = self.value(tree_of(block["for_each"]), {})
        each = each if isinstance(each, dict) else {it: it for it in each}
        return {key: Thing(self, kind, name, block, key, {"each": {"key": key, "value": it}}) for key, it in each.items()}

    def of(self, kind):
        """All resources of a kind, one by one."""
        found = []
        for of, name in self.declared["resource"]:
            if of == kind:
                it = self.things("resource", of, name)
                found += it if isinstance(it, list) else it.values() if isinstance(it, dict) else [it]
        return found

    def value(self, tree, scope):
        value = lambda it: self.value(it, scope)
        match tree:
            case ("literal", it):
                return it
            case ("template", *parts):
                return "".join(map(str, map(value, parts)))
            case ("list", *items):
                return list(map(value, items))
            case ("object", *pairs):
                return {value(key): value(it) for key, it in pairs}
            case ("if", condition, yes, no):
                return value(yes if value(condition) else no)
            case ("not", it):
                return not value(it)
            case ("binary", "&&" | "||" as sign, one, other):
                return (value(one) and value(other)) if sign == "&&" else (value(one) or value(other))
            case ("binary", sign, one, other):
                return OPERATORS[sign](value(one), value(other))
            case ("for", names, of, key, it, when):
                of = value(of)
                of = of.items() if isinstance(of, dict) else enumerate(of)
                scopes = [scope | dict(zip(reversed(names), reversed(pair))) for pair in of]
                scopes = [scope for scope in scopes if self.value(when, scope)]
                if key is None:
                    return [self.value(it, scope) for scope in scopes]
                return {self.value(key, scope): self.value(it, scope) for scope in scopes}
            case ("name", name) if name in scope:
                return scope[name]
            case ("attribute", ("name", "var"), name):
                return self.variables[name]
            case ("attribute", ("name", "local"), name):
                return self.local(name)
            case ("attribute", ("name", "path"), "module"):
                return str(TF / self.name)
            case ("attribute", ("attribute", ("name", "module"), name), output):
                return self.child(name).output(output)
            case ("attribute", ("attribute", ("name", "data"), kind), name):
                return self.things("data", kind, name)
            case ("attribute", ("name", kind), name) if kind.startswith("aws_"):
                return self.things("resource", kind, name)
            case ("attribute", ("splat", of), name):
                return [it.attribute(name) for it in value(of)]
            case ("attribute", of, name):
                of = value(of)
                return of.attribute(name) if isinstance(of, Thing) else of[name]
            case ("index", of, key):
                return value(of)[value(key)]
            case ("call", "jsonencode", it):
                return json.dumps(value(it))
            case ("call", "base64encode", it):
                return value(it)
            case ("call", "toset", it):
                return sorted(set(value(it)))
            case ("call", "join", by, of):
                return value(by).join(value(of))
            case ("call", "templatefile", file, values):
                text, values = pathlib.Path(value(file)).read_text(), value(values)
                assert "%{" not in text and "$${" not in text
                names = set(re.findall(r"\$\{([^}]*)\}", text))
                assert names == values.keys(), f"{file}: {names} are not {values.keys()}"
                return re.sub(r"\$\{(\w+)\}", lambda m: str(values[m[1]]), text)
        raise NotImplementedError(tree)


def ask(input, files, **more):
    """What Terraform itself makes of an expression; None without Terraform."""
    if not TERRAFORM:
        return None
    with tempfile.TemporaryDirectory() as work:
        for file in files:
            shutil.copy(file, work)
        for name, text in more.items():
            pathlib.Path(work, name.replace("__", ".")).write_text(text)
        run = subprocess.run(["terraform", "console"], input=f"base64encode({input})\n", text=True, capture_output=True, cwd=work,
                             env=os.environ | {"TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"})
        assert run.returncode == 0, run.stderr
        return base64.b64decode(json.loads(run.stdout)).decode()


def evaluated(name, variables, expression):
    files = [it for it in (TF / name).iterdir() if it.name in ("variables.tf", "statements.tf") or it.suffix == ".tftpl"]
    stand_in = "".join(f"  {key} = {json.dumps(value)}\n" for key, value in LOCALS.items())
    return ask(expression, files, stand_in__tf=f"locals {{\n{stand_in}}}\n", of__auto__tfvars__json=json.dumps(variables))


# --- What both make, in the same words

METADATA = {"http_endpoint": "enabled", "http_tokens": "optional", "instance_metadata_tags": "disabled"}
EVERYTHING = ["-1", None, None, "0.0.0.0/0"]


def metadata(given):
    return METADATA | {snake(key): it for key, it in given.items()}


def owner(it, of=None):
    """The resource that something is asked of, which is one thing, by whatever attribute it is called."""
    found = re.fullmatch(r"(<[^>]+>)(\.\w+)?", it)
    assert found, f"{it} is no resource{f' for {of}' if of else ''}"
    return found[1]


def only(items):
    it, = items
    return it


def role_there(template):
    (role, it), (_, profile) = only(template.of("AWS::IAM::Role").items()), only(template.of("AWS::IAM::InstanceProfile").items())
    assert profile["Roles"] == [f"<{template.within}{role}>"] and len(it["Policies"]) == 1
    return {"trust": it["AssumeRolePolicyDocument"], "description": it["Description"], "policy": it["Policies"][0]["PolicyName"],
            "version": it["Policies"][0]["PolicyDocument"]["Version"]}


def role_here(module):
    role, policy, profile = (only(module.of(f"aws_iam_{it}")) for it in ("role", "role_policy", "instance_profile"))
    for it in (policy, profile):
        assert owner(it.argument("role"), it) == str(role), f"{it} is another role's"
    document = json.loads(policy.argument("policy"))
    assert document["Statement"] == module.local("statements")
    return {"trust": json.loads(role.argument("assume_role_policy")), "description": role.argument("description"),
            "policy": policy.argument("name"), "version": document["Version"]}


def rules_there(group):
    opened = [[str(it["IpProtocol"]), it.get("FromPort"), it.get("ToPort"), it["CidrIp"]] for it in group["SecurityGroupIngress"]]
    assert group.keys() == {"GroupDescription", "VpcId", "SecurityGroupIngress"}
    return {"description": group["GroupDescription"], "in": sorted(opened), "out": [EVERYTHING]}


def rules_here(module):
    """Those of the module's one group, which all its rules are of."""
    group = only(module.of("aws_security_group"))
    found = {"description": group.argument("description")}
    for way, kind in (("in", "ingress"), ("out", "egress")):
        rules = module.of(f"aws_vpc_security_group_{kind}_rule")
        assert all(owner(it.argument("security_group_id")) == str(group) for it in rules), "a rule of another group"
        found[way] = sorted([it.argument("ip_protocol"), *map(it.argument, ("from_port", "to_port", "cidr_ipv4"))] for it in rules)
    return str(group), found


def zones_there(template):
    return sorted(([it["Name"], it["HostedZoneConfig"]["Comment"], [[by["VPCId"], by["VPCRegion"]] for by in it["VPCs"]],
                    [template.resources[name].get(key) for key in ("DeletionPolicy", "UpdateReplacePolicy")] == ["RetainExceptOnCreate", "Retain"]]
                   for name, it in template.of("AWS::Route53::HostedZone").items()))


def zones_here(module):
    """Route 53 deletes none that has records, unless those are deleted by force."""
    return sorted([it.argument("name"), it.argument("comment"), [[by["vpc_id"], by["vpc_region"]] for by in it.argument("vpc")],
                   it.argument("force_destroy") is False] for it in module.of("aws_route53_zone"))


def servers_there(template):
    (of, it), = template.of("AWS::EC2::LaunchTemplate").items()
    it = it["LaunchTemplateData"]
    groups = {}
    for name, group in template.of("AWS::AutoScaling::AutoScalingGroup").items():
        by = group["LaunchTemplate"]
        assert owner(by["LaunchTemplateId"]) == owner(by["Version"]) == f"<{template.within}{of}>"
        groups[group["AutoScalingGroupName"]] = {
            "sizes": [str(group["MinSize"]), str(group["MaxSize"])], "subnets": group["VPCZoneIdentifier"],
            "hooks": {hook["LifecycleHookName"]: [hook["LifecycleTransition"], hook["HeartbeatTimeout"], hook["DefaultResult"]]
                      for hook in group["LifecycleHookSpecificationList"]}}
        # A group waits for its servers by signals there, by a hook here.
        waits = template(template.resources[name]["CreationPolicy"])["ResourceSignal"]
        assert waits == {"Count": group["MinSize"], "Timeout": "PT15M"}, waits
    group, rules = only(template.of("AWS::EC2::SecurityGroup").items())
    assert it["SecurityGroupIds"] == [f"<{template.within}{group}>"]
    profile = only(template.of("AWS::IAM::InstanceProfile"))
    assert it["IamInstanceProfile"] == {"Arn": f"<{template.within}{profile}>.Arn"}
    return {"role": role_there(template), "rules": rules_there(rules), "image": it["ImageId"], "type": it["InstanceType"],
            "metadata": metadata(it["MetadataOptions"]), "groups": groups, "vpc": rules["VpcId"]}, it["UserData"]


def servers_here(module):
    it = only(module.of("aws_launch_template"))
    group, rules = rules_here(module)
    assert list(map(owner, it.argument("vpc_security_group_ids"))) == [group]
    profile = only(module.of("aws_iam_instance_profile"))
    assert it.argument("iam_instance_profile") == [{"arn": f"{profile}.arn"}]
    groups = {}
    for one in module.of("aws_autoscaling_group"):
        by = only(one.argument("launch_template"))
        assert by == {"id": f"{it}.id", "version": f"{it}.latest_version"}, by
        hooks = [[hook[key] for key in ("name", "lifecycle_transition", "heartbeat_timeout", "default_result")]
                 for hook in one.argument("initial_lifecycle_hook")]
        hooks = {name: rest for name, *rest in hooks}
        assert hooks.pop("serve") == ["autoscaling:EC2_INSTANCE_LAUNCHING", 15 * 60, "ABANDON"]
        assert one.argument("wait_for_capacity_timeout") == "15m"
        groups[one.argument("name")] = {"sizes": [str(one.argument("min_size")), str(one.argument("max_size"))],
                                        "subnets": one.argument("vpc_zone_identifier"), "hooks": hooks}
    vpc = only(module.of("aws_security_group")).argument("vpc_id")
    return {"role": role_here(module), "rules": rules, "image": it.argument("image_id"), "type": it.argument("instance_type"),
            "metadata": metadata(only(it.argument("metadata_options"))), "groups": groups, "vpc": vpc}, it.argument("user_data")


def same_shell_of_servers(there, here):
    assert set(re.findall(r"--lifecycle-hook-name (\S+)", there)) == {"drain"}
    assert set(re.findall(r"--lifecycle-hook-name (\S+)", here)) == {"drain", "serve"}
    # The one step that differs: whom the server tells that it serves.
    there = there.replace("tells the stack", "tells the group")
    there, one = re.subn(r"# Refused unless the stack .*?\|\| true\n", "", there, flags=re.S)
    here, other = re.subn(r"# Refused unless the group .*?\|\| true\n", "", here, flags=re.S)
    assert one == other == 1 and there == here, "the shell of the DNS servers differs"


# --- The agent's role, with every set of parameters that both take

for name in sorted(it.name for it in TF.iterdir()):
    found = declared(name)
    print(f"{name}: every reference is to one of {sum(map(len, found.values()))} that are declared")

CHOICES = {  # CloudFormation's name: Terraform's, and what it may be
    "HostedZoneId": ("hosted_zone_id", ["", "Z1"]),
    "Domain": ("domain", ["example.test"]),
    "ReverseZoneId": ("reverse_zone_id", ["", "Z2"]),
    "KeyParameter": ("key_parameter", ["", "/tagalong/tsig"]),
    "KeyOfParameter": ("key_of_parameter", ["", "arn:aws:kms:eu-central-1:123456789012:key/1"]),
    "TagsByApi": ("tags_by_api", ["false", "true"]),
    "NearestFirst": ("nearest_first", ["false", "true"]),
}
count = 0
for values in itertools.product(*(values for _, values in CHOICES.values())):
    cloudformation = dict(zip(CHOICES, values))
    if cloudformation["ReverseZoneId"] and not cloudformation["HostedZoneId"]:
        continue
    terraform = {CHOICES[key][0]: {"true": True, "false": False}.get(it, it) for key, it in cloudformation.items()}
    template, module = Template("agent-role.yaml", cloudformation), Module("agent-role", terraform)
    want = template.statements("Role")
    same(cloudformation, module.local("statements"), want)
    same("agent-role", role_here(module), role_there(template))
    if count % 7 == 0 or len(want) >= 9:
        truly = evaluated("agent-role", terraform, "jsonencode(local.statements)")
        assert truly is None or json.loads(truly) == want, truly
    count += 1
assert Template("agent-role.yaml", {}).text["Parameters"].keys() == CHOICES.keys()
assert Module("agent-role", {}).variables.keys() == {name for name, _ in CHOICES.values()}
print(f"agent-role: the same statements for {count} sets of parameters, of the same role")

# --- Zones

for reverse in ("", "9.10.in-addr.arpa"):
    template = Template("private-zone.yaml", {"Vpc": "vpc-1", "Domain": "example.test", "ReverseDomain": reverse})
    module = Module("private-zone", {"vpc": "vpc-1", "domain": "example.test", "reverse_domain": reverse})
    same("private-zone", zones_here(module), zones_there(template))
    assert all(it[-1] for it in zones_here(module)) and len(zones_here(module)) == (2 if reverse else 1)
print("private-zone: the same zones, which stay")

# --- DNS servers

GIVEN = {"Vpc": "vpc-1", "SubnetA": "subnet-1", "SubnetB": "subnet-2", "Primary": "10.0.0.5", "Domain": "example.test",
         "KeyParameter": "/a/b", "Clients": "10.9.0.0/16", "ServersPerZone": "2", "Image": "/image", "InstanceType": "t4g.small"}
for key in ("", "arn:aws:kms:eu-central-1:123456789012:key/1"):
    parameters = GIVEN | {"KeyOfParameter": key}
    variables = {snake(key): int(it) if it == "2" else it for key, it in parameters.items()}
    template, module = Template("dns-servers.yaml", parameters), Module("dns-servers", variables)
    want, got = template.statements("Role"), [dict(it) for it in module.local("statements")]
    truly = evaluated("dns-servers", variables, "jsonencode(local.statements)")
    assert truly is None or json.loads(truly) == got, truly
    (made_there, there), (made_here, here) = servers_there(template), servers_here(module)
    same("dns-servers", made_here, made_there)
    same_shell_of_servers(there, here)
    truly = evaluated("dns-servers", variables, "local.user_data")
    assert truly is None or truly == here
    # Who is one of ours is known by a tag of CloudFormation's there, of Auto Scaling's here, where there is no stack to be told.
    by = [it["Condition"].pop("StringEquals") for it in (want[0], got[0])]
    assert by == [{"ec2:ResourceTag/aws:cloudformation:stack-id": "STACK"},
                  {"ec2:ResourceTag/aws:autoscaling:groupName": ["dns-a", "dns-b"]}], by
    same("dns-servers", got, [it for it in want if it["Sid"] != "SayThatItServes"])
print("dns-servers: the same statements, but for the stack's own, and the same groups, hooks, rules and metadata options")

# --- The demo

GIVEN = {"PackageUrl": "https://example.test/t.deb", "PackageSha256": "0" * 64, "Domain": "example.test", "HostedDomain": "aws.test",
         "Network": "10.9", "KeyParameter": "/a/b", "Image": "/image/arm64", "InstanceType": "t4g.micro"}
template, module = Template("demo.yaml", GIVEN), Module("demo", {snake(key): it for key, it in GIVEN.items()})
# What is whose: CloudFormation's name of it, and Terraform's.
PAIRS = {"<Vpc>": "<aws_vpc.this>", "<SubnetA>": "<aws_subnet.this[a]>", "<SubnetB>": "<aws_subnet.this[b]>",
         "<Inside>": "<aws_security_group.inside>", "<Agent.InstanceProfile>": "<agent_role.aws_iam_instance_profile.this>",
         "<Zone.Zone>": "<private_zone.aws_route53_zone.names>", "<Routes>": "<aws_route_table.this>",
         "<Gateway>": "<aws_internet_gateway.this>"}


def translated(it):
    """In CloudFormation's names, and its texts of them."""
    for cloudformation, terraform in PAIRS.items():
        it = re.sub(re.escape(terraform) + r"\.(id|name|zone_id)\b", cloudformation, it)
    return it


def translate(it):
    return json.loads(translated(json.dumps(it)))


def network_there(template):
    vpc, = template.of("AWS::EC2::VPC").values()
    subnets = template.of("AWS::EC2::Subnet")
    return {
        "vpc": [vpc["CidrBlock"], vpc["EnableDnsSupport"], vpc["EnableDnsHostnames"]],
        "subnets": sorted([f"<{name}>", it["VpcId"], it["CidrBlock"], it["AvailabilityZone"], it["MapPublicIpOnLaunch"]]
                          for name, it in subnets.items()),
        "routes": [[it["RouteTableId"], it["DestinationCidrBlock"], it["GatewayId"]] for it in template.of("AWS::EC2::Route").values()],
        "of": sorted([it["SubnetId"], it["RouteTableId"]] for it in template.of("AWS::EC2::SubnetRouteTableAssociation").values())}


def network_here(module):
    vpc, = module.of("aws_vpc")
    return translate({
        "vpc": list(map(vpc.argument, ("cidr_block", "enable_dns_support", "enable_dns_hostnames"))),
        "subnets": sorted([f"{it}.id", *map(it.argument, ("vpc_id", "cidr_block", "availability_zone", "map_public_ip_on_launch"))]
                          for it in module.of("aws_subnet")),
        "routes": [[f"{it}.id", by["cidr_block"], by["gateway_id"]]
                   for it in module.of("aws_route_table") for by in it.argument("route")],
        "of": sorted(list(map(it.argument, ("subnet_id", "route_table_id"))) for it in module.of("aws_route_table_association"))})


def instances_there(template):
    templates, found = template.of("AWS::EC2::LaunchTemplate"), {}
    for it in template.of("AWS::EC2::Instance").values():
        by = owner(it["LaunchTemplate"]["LaunchTemplateId"])
        assert owner(it["LaunchTemplate"]["Version"]) == by
        data = templates[by.strip("<>")]["LaunchTemplateData"]
        tag, = it["Tags"]
        assert tag["Key"] == "Name"
        found[tag["Value"]] = [it["ImageId"], it["InstanceType"], owner(it["IamInstanceProfile"]), it["SubnetId"],
                               it.get("PrivateIpAddress"), data["SecurityGroupIds"], metadata(data["MetadataOptions"]), data["UserData"]]
    return found


def instances_here(module):
    found = {}
    for it in module.of("aws_instance"):
        (key, name), = it.argument("tags").items()
        assert key == "Name"
        asked = ("ami", "instance_type", "iam_instance_profile", "subnet_id", "private_ip", "vpc_security_group_ids")
        found[name] = [*map(it.argument, asked),
                       metadata(only(it.argument("metadata_options"))), it.argument("user_data")]
    return translate(found)


same("demo", network_here(module), network_there(template))
same("demo", instances_here(module), instances_there(template))
same("demo", translate(rules_here(module)[1]), rules_there(only(template.of("AWS::EC2::SecurityGroup").values())))
for nested, child in (("Zone", "private_zone"), ("Agent", "agent_role"), ("Servers", "dns_servers")):
    nested, child = template.nested(nested), module.child(child)
    want = {snake(key): it for key, it in nested.values.items() if ":" not in key}
    got = translate({key: {True: "true", False: "false"}.get(it, it) if isinstance(it, bool) else str(it)
                     for key, it in child.variables.items()})
    # Its own: names, which a stack gives itself, and that the demo's zone, as it says, goes with it.
    assert got.pop("name", "tagalong-demo-dns") == "tagalong-demo-dns" and got.pop("force_destroy", "true") == "true"
    same(child.within, got, {key: it.removeprefix("ssm:") for key, it in want.items()})
nested, child = template.nested("Servers"), module.child("dns_servers")
nested.values["AWS::StackName"] = "tagalong-demo-dns"
(made_there, there), (made_here, here) = servers_there(nested), servers_here(child)
same("demo: dns-servers", translate(made_here), made_there)
assert made_here["image"] == "ssm:/image/arm64" == instances_here(module)["dns-primary"][0]
same_shell_of_servers(there, here)
for name, kind in (("web-1", "host"), ("dns-primary", "primary")):
    *_, rendered = instances_here(module)[name]
    values = {it: module.variables.get(it, "") for it in module.variables} | {"region": LOCALS["region"], "zone_id": "<Zone.Zone>"}
    file = TF / f"demo/{kind}.sh.tftpl"
    truly = ask(f"templatefile({json.dumps(file.name)}, {json.dumps(values)})", [file])
    assert truly is None or truly == rendered
for it in module.of("aws_instance"):
    assert ignored(it.block) == {"ami"}, f"{it}: an image that is newer replaces it, and the primary has the zone"
print("demo: the same network, rules, instances, and parameters of what it is made of")
print("demo: the same shells", "(Terraform itself was asked too)" if TERRAFORM else "")

for name in ("agent-role", "private-zone", "dns-servers", "demo"):
    text = yaml.load((CFN / f"{name}.yaml").read_text(), Loader)["Parameters"]
    ours = declared(name)["variable"]
    assert {snake(key) for key in text} <= ours.keys(), (text.keys(), ours.keys())
    for key, it in text.items():
        default = ours[snake(key)].get("default")
        default = default.strip('"') if isinstance(default, str) else str(default).lower() if isinstance(default, bool) else default
        assert it.get("Default") == default, (key, it, default)
    print(f"{name}: the same parameters and defaults; Terraform's own: {sorted(ours.keys() - {snake(key) for key in text})}")

for file in sorted(it for it in (HERE / "infra").rglob("*") if it.suffix in (".yaml", ".tf", ".tftpl")):
    for against in ("allow-update-forwarding", "zonesub"):
        assert against not in file.read_text(), f"{file}: docs/servers/bind.md advises against {against}"

if TERRAFORM:
    run = subprocess.run(["terraform", "fmt", "-check", "-recursive", "-diff", TF], text=True, capture_output=True,
                         env=os.environ | {"TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"})
    assert run.returncode == 0, run.stdout + run.stderr
    print("terraform fmt: nothing to change")
else:
    print("NOT RUN: terraform, which there is none of here: it made no statements and no shells to compare, and `fmt` did not run")
