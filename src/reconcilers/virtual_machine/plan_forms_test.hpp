// SPDX-License-Identifier: Apache-2.0
// How the golden cases of testdata/plans/virtual_machine are written: observed.yaml to values, a plan to text for people.
#pragma once

#include <string>
#include <string_view>

#include "api/object.hpp"
#include "reconcilers/virtual_machine/plan.hpp"

namespace banger::reconcilers::virtual_machine {

struct PlanCase {
  api::Object vm;
  Observed observed;
};

// desired: a manifest with the VM and what it refers to. observed: see plan_forms_test.cpp for the fields. Throws
// std::runtime_error with a sentence where one of them cannot be read.
PlanCase read_case(std::string_view desired, std::string_view observed);

std::string write_plan(const PlanCase& given, const Plan& plan);

}  // namespace banger::reconcilers::virtual_machine
