variable "name" {
  description = "What the names of the Auto Scaling groups begin with"
  type        = string
  default     = "dns"
}

variable "vpc" {
  description = "The VPC that the servers are in"
  type        = string
}

variable "subnet_a" {
  description = "A subnet of one Availability Zone; with a way to Debian's mirrors and AWS's APIs (NAT, or public addresses), without which no server gets ready"
  type        = string
}

variable "subnet_b" {
  description = "A subnet of another, with the same"
  type        = string
}

variable "clients" {
  description = "Who may ask; a network as in 10.0.0.0/8"
  type        = string
  default     = "10.0.0.0/8"
}

variable "domain" {
  description = "The domain that the servers serve"
  type        = string
  default     = "corp.internal"
}

variable "primary" {
  description = "The primary's address. The servers have the zone from it, it takes the updates, and the zone's SOA names it (MNAME)"
  type        = string
}

variable "key_parameter" {
  description = "The parameter of Systems Manager (SecureString) with the TSIG key, as `tsig-keygen` writes it"
  type        = string
  default     = "/tagalong/tsig"

  validation {
    condition     = can(regex("^(/[A-Za-z0-9_.-]+)+$", var.key_parameter))
    error_message = "A name with a slash at its beginning, such as /tagalong/tsig."
  }
}

variable "key_of_parameter" {
  description = "The ARN of the KMS key that the parameter is encrypted with; empty for the account's default, aws/ssm"
  type        = string
  default     = ""
}

variable "image" {
  description = "The public parameter of Systems Manager with the image: Debian 12 or 13"
  type        = string
  default     = "/aws/service/debian/release/12/latest/amd64"
}

variable "instance_type" {
  description = "The servers' instance type, of the image's architecture"
  type        = string
  default     = "t3.small"
}

variable "servers_per_zone" {
  description = "How many servers each Availability Zone has"
  type        = number
  default     = 1

  validation {
    condition     = var.servers_per_zone >= 1 && var.servers_per_zone <= 5
    error_message = "One to five."
  }
}
