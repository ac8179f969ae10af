variable "hosted_zone_id" {
  description = "The hosted zone that hosts publish their names in (Route 53); empty for DNS servers of one's own (RFC 2136)"
  type        = string
  default     = ""
}

variable "domain" {
  description = "The domain that names in the hosted zone end in, so that hosts change no others"
  type        = string
  default     = "corp.internal"
}

variable "reverse_zone_id" {
  description = "The hosted zone that they publish their addresses in, with `reverse = true`; empty for none"
  type        = string
  default     = ""

  validation {
    condition     = var.reverse_zone_id == "" || var.hosted_zone_id != ""
    error_message = "reverse_zone_id is for hosts that publish in Route 53; name hosted_zone_id too."
  }
}

variable "key_parameter" {
  description = "The parameter of Systems Manager that holds the TSIG key (`key_parameter`), by name; empty for a key that is elsewhere"
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(/[A-Za-z0-9_.-]+)*$", var.key_parameter))
    error_message = "A name with a slash at its beginning, such as /tagalong/tsig, or nothing."
  }
}

variable "key_of_parameter" {
  description = "The ARN of the KMS key that the parameter is encrypted with; empty for the account's default, aws/ssm"
  type        = string
  default     = ""
}

variable "tags_by_api" {
  description = "Whether hosts may ask EC2 for their tags, where tags in instance metadata are off"
  type        = bool
  default     = false
}

variable "nearest_first" {
  description = "Whether hosts may learn the VPC's subnets, for `resolver.prefer`"
  type        = bool
  default     = false
}
